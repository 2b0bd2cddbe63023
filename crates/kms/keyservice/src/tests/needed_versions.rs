//! A version that a cluster needs is not destroyed, whoever of the two comes first.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keystead_crypto::sha256;
use keystead_model::cluster::Encryption;
use keystead_model::cluster_host::Joined;
use keystead_model::{
    Cluster, ClusterHost, ClusterHostName, ClusterName, ClusterOperation, CryptoKeyName, ErrorClass,
    Principal, VersionState,
};
use keystead_store::{Batch, Changes, Entry, Pending, Revision, Store};
use tokio::sync::Notify;

use super::after_the_commit::{Faults, Misbehaving};
use super::keys::encrypt;
use crate::operations::*;
use crate::records::{account_email, encode, record_name};
use crate::testbed::{PROJECT, Testbed, create_key, key_name, ring, version, version_name};
use crate::{Caller, Clock as _, Credential, KmsError, Origin, ServiceApi, Tick};

/// Another project than that of the keys.
const CLUSTERS: &str = "cluster-project";
const DAY: Duration = Duration::from_secs(86_400);

/// Version 2 is the primary of the key `k`; both versions have encrypted something. Clusters of another project may use it.
async fn scene() -> Testbed {
    let bed = Testbed::new().await;
    bed.run(CreateKeyRing { name: ring() }).await.unwrap();
    bed.run(create_key()).await.unwrap();
    encrypt(&bed, key_name(), None).await;
    bed.run(CreateCryptoKeyVersion { key: key_name() }).await.unwrap();
    bed.run(UpdateCryptoKeyPrimaryVersion { key: key_name(), version: version(2) }).await.unwrap();
    encrypt(&bed, key_name(), None).await;
    bed.grant("", "roles/resourcemanager.projectCreator", "user:owner@example.com").await;
    let project = CreateProject {
        id: CLUSTERS.parse().unwrap(),
        display_name: String::new(),
        labels: Default::default(),
    };
    let number = bed.run(project).await.unwrap().number;
    let enable = SwitchServices {
        project: CLUSTERS.parse().unwrap(),
        apis: vec![ServiceApi::Container],
        enable: true,
    };
    bed.run(enable).await.unwrap();
    let account = format!("serviceAccount:{}", account_email::cluster(number));
    bed.grant(&key_name().to_string(), "roles/cloudkms.cryptoKeyEncrypterDecrypter", &account).await;
    bed
}

pub(super) fn cluster_name(id: &str) -> ClusterName {
    format!("projects/{CLUSTERS}/locations/us-central1/clusters/{id}").parse().unwrap()
}

pub(super) fn create(id: &str, key: Option<CryptoKeyName>) -> CreateCluster {
    CreateCluster {
        name: cluster_name(id),
        key,
        labels: Default::default(),
        settings: String::new(),
        initial_version: String::new(),
    }
}

fn destroy(number: u32) -> DestroyCryptoKeyVersion {
    DestroyCryptoKeyVersion { name: version_name(number) }
}

/// A cluster, as if its hosts had come and done what was wanted.
pub(super) async fn settled(bed: &Testbed, id: &str, key: Option<CryptoKeyName>) -> Cluster {
    bed.run(create(id, None)).await.unwrap();
    let cluster = bed.run(GetCluster { name: cluster_name(id) }).await.unwrap().cluster;
    let encryption = Encryption { key, ..Encryption::default() };
    let cluster = Cluster { encryption, running: None, ..cluster };
    put(bed, record_name::cluster(&cluster.name), encode(&cluster).unwrap()).await;
    cluster
}

async fn put(bed: &Testbed, record: String, value: Vec<u8>) {
    let batch = Batch::default().put(record, value);
    bed.service.ledger.commit(batch, None).await.unwrap().complete().unwrap();
}

/// An inventory of the cluster of now, or of later: so many objects under version 1.
pub(super) async fn counted(bed: &Testbed, cluster: &Cluster, objects: u64) {
    let inventory = Inventory {
        source: Inventory::source_of(cluster),
        observe_time: bed.clock.now(),
        counts: [(version(1), objects)].into(),
    };
    bed.run(RegisterInventory { key: key_name(), inventory }).await.unwrap();
}

/// Why a version may not be destroyed; none: it may.
async fn refused(bed: &Testbed, number: u32) -> Option<String> {
    let error = bed.run(destroy(number)).await.err()?;
    assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
    Some(error.message().to_owned())
}

#[tokio::test]
async fn p12_a_version_that_a_cluster_needs_is_kept_until_its_own_inventory_says_otherwise() {
    let bed = scene().await;
    let cluster = settled(&bed, "prod-a", Some(key_name())).await;
    // Every source says that nothing is left, and the cluster is none of them.
    bed.clock.advance(DAY);
    bed.nothing_is_left().await;
    let text = refused(&bed, 1).await.expect("the cluster may hold something");
    let why = format!("cluster {} may have objects under it, and no inventory", cluster.name);
    assert!(text.contains(&why), "{text}");
    counted(&bed, &cluster, 41).await;
    let text = refused(&bed, 1).await.expect("the cluster holds something");
    assert!(
        text.contains(&format!("cluster {} had 41 objects under it at 2026-01-02", cluster.name)),
        "{text}"
    );
    assert!(!text.contains("cluster="), "it is said once: {text}");
    // Disabling is never refused.
    for enabled in [false, true] {
        bed.run(UpdateCryptoKeyVersion { name: version_name(1), enabled }).await.unwrap();
    }
    counted(&bed, &cluster, 0).await;
    let text = refused(&bed, 2).await.expect("the cluster encrypts with the primary");
    assert!(text.contains("because it is the primary version"), "{text}");
    assert_eq!(refused(&bed, 1).await, None);
}

#[tokio::test]
async fn p12_an_inventory_from_before_the_last_encryption_says_nothing() {
    let bed = scene().await;
    let cluster = settled(&bed, "prod-a", Some(key_name())).await;
    bed.clock.advance(DAY);
    counted(&bed, &cluster, 0).await;
    encrypt(&bed, key_name(), Some(version(1))).await;
    let text = refused(&bed, 1).await.expect("something was encrypted since");
    assert!(
        text.contains(&format!("cluster {} may have objects under it: its inventory", cluster.name)),
        "{text}"
    );
    bed.clock.advance(DAY);
    // Another cluster of the same name says nothing of this one.
    let another = Cluster { id: "0".repeat(64), ..cluster.clone() };
    counted(&bed, &another, 0).await;
    assert!(refused(&bed, 1).await.is_some());
    counted(&bed, &cluster, 0).await;
    assert_eq!(refused(&bed, 1).await, None);
}

#[tokio::test]
async fn p12_every_key_that_a_cluster_may_still_need_is_kept() {
    let bed = scene().await;
    let name: CryptoKeyName = format!("{}/cryptoKeys/other", ring()).parse().unwrap();
    bed.run(CreateCryptoKey { name: name.clone(), ..create_key() }).await.unwrap();
    let account = {
        let project = bed.run(GetProject { id: CLUSTERS.parse().unwrap() }).await.unwrap();
        format!("serviceAccount:{}", account_email::cluster(project.number))
    };
    bed.grant(&name.to_string(), "roles/cloudkms.cryptoKeyEncrypterDecrypter", &account).await;
    let plain = settled(&bed, "plain", None).await;
    bed.clock.advance(DAY);
    bed.nothing_is_left().await;
    // A cluster on its way from one key to another needs both.
    settled(&bed, "prod-a", Some(name.clone())).await;
    let update = UpdateClusterEncryption { name: cluster_name("prod-a"), key: Some(key_name()) };
    let operation = bed.run(update).await.unwrap();
    assert!(refused(&bed, 1).await.unwrap().contains("/clusters/prod-a"));
    let first = DestroyCryptoKeyVersion { name: format!("{name}/cryptoKeyVersions/1").parse().unwrap() };
    assert!(bed.run(first).await.is_err());
    // What was not begun is not needed, and a cluster that is plain needs nothing.
    bed.run(CancelClusterOperation { name: operation.name }).await.unwrap();
    assert_eq!(refused(&bed, 1).await, None);
    assert!(plain.needed_to_read().is_empty());
    // A server that starts reads it all.
    let bed = bed.reopen().await;
    bed.run(create("prod-b", Some(key_name()))).await.unwrap();
    let bed = bed.reopen().await;
    assert!(refused(&bed, 2).await.unwrap().contains("/clusters/prod-b encrypts with it"));
}

#[tokio::test]
async fn p9_a_cluster_that_comes_to_need_a_version_keeps_it_when_its_time_has_come() {
    let bed = scene().await;
    bed.clock.advance(DAY);
    bed.nothing_is_left().await;
    assert_eq!(refused(&bed, 1).await, None);
    let cluster = settled(&bed, "prod-a", Some(key_name())).await;
    bed.clock.advance(31 * DAY);
    assert_eq!(bed.service.tick().await, Tick { kept: 1, ..Tick::default() });
    let state = bed.run(GetCryptoKeyVersion { name: version_name(1) }).await.unwrap().state;
    assert_eq!(state, VersionState::DestroyScheduled);
    counted(&bed, &cluster, 0).await;
    assert_eq!(bed.service.tick().await, Tick { destroyed: 1, ..Tick::default() });
}

#[tokio::test]
async fn p12_the_owners_label_is_above_the_need_of_a_cluster_and_recorded() {
    let bed = scene().await;
    settled(&bed, "prod-a", Some(key_name())).await;
    let update = UpdateCryptoKey {
        name: key_name(),
        labels: Some([("keystead-destroy".to_owned(), "1".to_owned())].into()),
        rotation_period_s: None,
        next_rotation_time: None,
    };
    bed.run(update).await.unwrap();
    assert_eq!(refused(&bed, 1).await, None);
    assert!(bed.audit_records().iter().any(|it| it.contains("\"override\":\"keystead-destroy\"")));
}

#[tokio::test]
async fn p12_what_is_not_known_of_clusters_destroys_nothing() {
    let faults = Arc::new(Faults::default());
    let on = Arc::clone(&faults);
    let bed = scene().await.reopen_on(|inner| Arc::new(Misbehaving { inner, faults: on })).await;
    let cluster = settled(&bed, "prod-a", Some(key_name())).await;
    // The store has forgotten what was changed, and all is read again.
    faults.has_no_history.store(true, Ordering::SeqCst);
    bed.clock.advance(DAY);
    bed.nothing_is_left().await;
    assert!(refused(&bed, 1).await.unwrap().contains("/clusters/prod-a"));
    counted(&bed, &cluster, 0).await;
    // It does not say what was changed, so that there may be another cluster.
    faults.is_silent.store(true, Ordering::SeqCst);
    put(&bed, "nothing".to_owned(), Vec::new()).await;
    let error = bed.run(destroy(1)).await.expect_err("nobody knows");
    assert_eq!(error.class(), ErrorClass::Unavailable, "{error}");
    faults.is_silent.store(false, Ordering::SeqCst);
    let scheduled = loop {
        match bed.run(destroy(1)).await {
            Err(error) if error.class() == ErrorClass::Unavailable => tokio::task::yield_now().await,
            done => break done.unwrap(),
        }
    };
    assert_eq!(scheduled.state, VersionState::DestroyScheduled);
}

#[tokio::test]
async fn p12_while_the_record_of_a_cluster_is_damaged_nothing_is_destroyed() {
    let bed = scene().await;
    bed.clock.advance(DAY);
    bed.nothing_is_left().await;
    let record = record_name::cluster(&cluster_name("prod-a"));
    put(&bed, record.clone(), b"{".to_vec()).await;
    let mut bed = bed;
    for _ in 0..2 {
        let error = bed.run(destroy(1)).await.expect_err("it may need any key");
        assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
        bed = bed.reopen().await;
    }
    let entry = bed.service.store.get(&record).await.unwrap().unwrap();
    let batch = Batch::default().delete(record, entry.revision);
    bed.service.ledger.commit(batch, None).await.unwrap().complete().unwrap();
    assert_eq!(refused(&bed, 1).await, None);
}

#[tokio::test]
async fn p12_what_is_encrypted_after_a_clock_went_back_was_not_counted_before() {
    for restarted in [false, true] {
        let bed = scene().await;
        let cluster = settled(&bed, "prod-a", Some(key_name())).await;
        bed.clock.advance(DAY);
        counted(&bed, &cluster, 0).await;
        let ahead = bed.clock.now();
        // Nothing was encrypted since it was counted, whatever the clock says.
        bed.clock.set("2026-01-01T01:00:00Z".parse().unwrap());
        let mut bed = bed;
        if restarted {
            bed = bed.reopen().await;
        }
        encrypt(&bed, key_name(), Some(version(1))).await;
        for now in [bed.clock.now(), ahead, ahead + jiff::SignedDuration::from_hours(1)] {
            bed.clock.set(now);
            let text = refused(&bed, 1).await.expect("something was encrypted since");
            assert!(text.contains("/clusters/prod-a may have objects under it"), "{text}");
            bed = bed.reopen().await;
        }
        counted(&bed, &cluster, 0).await;
        assert_eq!(refused(&bed, 1).await, None);
    }
}

#[tokio::test]
async fn p12_an_earlier_inventory_that_comes_late_says_nothing() {
    let bed = scene().await;
    let cluster = settled(&bed, "prod-a", Some(key_name())).await;
    bed.clock.advance(DAY);
    let earlier = bed.clock.now();
    bed.clock.advance(DAY);
    // Its etcd was put back from a backup: what was encrypted long ago is there again.
    counted(&bed, &cluster, 41).await;
    let late = |observe_time| RegisterInventory {
        key: key_name(),
        inventory: Inventory {
            source: Inventory::source_of(&cluster),
            observe_time,
            counts: [(version(1), 0)].into(),
        },
    };
    let error = bed.run(late(earlier)).await.expect_err("it was counted later");
    assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
    assert!(refused(&bed, 1).await.unwrap().contains("had 41 objects"));
    // One of a clock that was ahead does not hold up those of now.
    bed.clock.set(earlier);
    bed.run(late(earlier)).await.unwrap();
    assert_eq!(refused(&bed, 1).await, None);
}

#[tokio::test]
async fn p12_a_cluster_that_leaves_a_key_and_comes_back_is_counted_anew() {
    let bed = scene().await;
    let cluster = settled(&bed, "prod-a", Some(key_name())).await;
    bed.clock.advance(DAY);
    counted(&bed, &cluster, 0).await;
    let at = |key| Cluster { encryption: Encryption { key, ..Encryption::default() }, ..cluster.clone() };
    put(&bed, record_name::cluster(&cluster.name), encode(&at(None)).unwrap()).await;
    assert_eq!(refused(&bed, 1).await, None);
    bed.run(RestoreCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    bed.run(UpdateCryptoKeyVersion { name: version_name(1), enabled: true }).await.unwrap();
    // On its way back it encrypts, and version 1 was the primary for a moment.
    put(&bed, record_name::cluster(&cluster.name), encode(&at(Some(key_name()))).unwrap()).await;
    bed.clock.advance(Duration::from_secs(1));
    encrypt(&bed, key_name(), Some(version(1))).await;
    assert!(refused(&bed, 1).await.unwrap().contains("/clusters/prod-a may have objects"));
}

#[tokio::test]
async fn p12_an_inventory_that_comes_as_its_cluster_is_deleted_is_nobodys_and_not_kept() {
    let (bed, waits) = gated().await;
    let cluster = settled(&bed, "prod-a", Some(key_name())).await;
    let name: ClusterHostName = format!("{}/hosts/host-0000000000000001", cluster.name).parse().unwrap();
    let host = ClusterHost {
        name: name.clone(),
        node: "cp-1".to_owned(),
        create_time: bed.clock.now(),
        join_token: None,
        joined: Some(Joined { time: bed.clock.now(), public_key: String::new() }),
        plugin_tokens: Vec::new(),
        certificate_time: None,
        plugin_token_time: None,
        reported: None,
    };
    put(&bed, record_name::cluster_host(&name), encode(&host).unwrap()).await;
    let caller = Caller {
        principal: Principal::ServiceAccount(account_email::host(&name)),
        groups: Vec::new(),
        credential: Credential::Certificate("0b".to_owned()),
    };
    let count = |objects| {
        bed.clock.advance(DAY);
        let digest = hex::encode(&sha256(format!("cloudkms\0{}", key_name()).as_bytes())[..8]);
        ReportInventory {
            observe_time: Some(bed.clock.now()),
            under: [(format!("cloudkms-v1-a1-{digest}"), objects)].into(),
            unattributed: 0,
        }
    };
    let call = || bed.service.call(Arc::new(caller.clone()), Origin::default()).unwrap();
    let first = count(40);
    bed.service.run(&call(), first).await.unwrap();
    let second = count(41);
    let late = call();
    let label = [("keystead-detach".to_owned(), "prod-a".to_owned())].into();
    let set = SetClusterLabels { name: cluster.name.clone(), labels: label, fingerprint: String::new() };
    bed.run(set).await.unwrap();
    let delete = bed.run(DeleteCluster { name: cluster.name.clone() });
    let (told, deleted) = overtaken(&waits, "inventory/", bed.service.run(&late, second), delete).await;
    deleted.unwrap();
    assert_eq!(told.expect_err("its host is gone").class(), ErrorClass::NotFound);
    let left = bed.run(ListInventories { key: key_name() }).await.unwrap();
    assert_eq!(left.iter().map(|it| it.source.as_str()).collect::<Vec<_>>(), ["cluster"]);
}

/// A store that holds back the first commit which writes a record of one kind, until it is told to go on.
struct Gate {
    inner: Arc<dyn Store>,
    waits: Arc<Waits>,
}

#[derive(Default)]
pub(super) struct Waits {
    /// What the record's name begins with; empty: nothing is held back.
    record: Mutex<String>,
    has_come: Notify,
    may_go: Notify,
}

impl Store for Gate {
    fn get<'a>(&'a self, name: &'a str) -> Pending<'a, Option<Entry>> {
        self.inner.get(name)
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> Pending<'a, Vec<Entry>> {
        self.inner.list(prefix, after, limit)
    }

    fn count<'a>(&'a self, prefix: &'a str) -> Pending<'a, u64> {
        self.inner.count(prefix)
    }

    fn commit(&self, batch: Batch) -> Pending<'_, Revision> {
        Box::pin(async move {
            let held = {
                let mut record = self.waits.record.lock().unwrap();
                let held = !record.is_empty() && batch.writes.iter().any(|it| it.name.starts_with(&*record));
                if held {
                    record.clear();
                }
                held
            };
            if held {
                self.waits.has_come.notify_one();
                self.waits.may_go.notified().await;
            }
            self.inner.commit(batch).await
        })
    }

    fn changes(&self, since: Revision) -> Pending<'_, Changes> {
        self.inner.changes(since)
    }

    fn writable(&self) -> Pending<'_, ()> {
        self.inner.writable()
    }

    fn is_erasing(&self) -> bool {
        self.inner.is_erasing()
    }
}

/// Has `slow` decide first, and commit after `fast` is done. The slow one's commit is known by a record that it writes.
pub(super) async fn overtaken<S, F>(
    waits: &Waits,
    record: &str,
    slow: impl Future<Output = S>,
    fast: impl Future<Output = F>,
) -> (S, F) {
    record.clone_into(&mut waits.record.lock().unwrap());
    let overtaking = async {
        waits.has_come.notified().await;
        let done = fast.await;
        waits.may_go.notify_one();
        done
    };
    tokio::join!(slow, overtaking)
}

pub(super) async fn gated() -> (Testbed, Arc<Waits>) {
    let bed = scene().await;
    bed.clock.advance(DAY);
    bed.nothing_is_left().await;
    let waits = Arc::new(Waits::default());
    let on = Arc::clone(&waits);
    (bed.reopen_on(|inner| Arc::new(Gate { inner, waits: on })).await, waits)
}

fn about_the_primary(error: &KmsError) {
    assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
    assert!(error.message().contains("current state is: DESTROY_SCHEDULED"), "{error}");
}

#[tokio::test]
async fn p12_a_cluster_that_is_made_while_a_version_is_destroyed_is_seen() {
    // The destruction has found nobody, and a cluster is made before it commits.
    let (bed, waits) = gated().await;
    let made = create("prod-a", Some(key_name()));
    let (destroyed, made) = overtaken(&waits, "version/", bed.run(destroy(2)), bed.run(made)).await;
    made.unwrap();
    let error = destroyed.expect_err("a cluster needs it");
    assert!(error.message().contains("/clusters/prod-a encrypts with it"), "{error}");

    // The cluster has tried the key, and its version is destroyed before it commits.
    let (bed, waits) = gated().await;
    let made = create("prod-a", Some(key_name()));
    let (made, destroyed) =
        overtaken(&waits, record_name::CLUSTERS, bed.run(made), bed.run(destroy(2))).await;
    destroyed.unwrap();
    about_the_primary(&made.expect_err("the version goes"));
    let gone = bed.run(GetCluster { name: cluster_name("prod-a") }).await.expect_err("nothing is left of it");
    assert_eq!(gone.class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn p12_a_cluster_that_is_updated_while_a_version_is_destroyed_is_seen() {
    let update = || UpdateClusterEncryption { name: cluster_name("prod-a"), key: Some(key_name()) };
    let (bed, waits) = gated().await;
    settled(&bed, "prod-a", None).await;
    let (destroyed, updated) = overtaken(&waits, "version/", bed.run(destroy(2)), bed.run(update())).await;
    assert_eq!(updated.unwrap().end, None);
    let error = destroyed.expect_err("a cluster needs it");
    assert!(error.message().contains("/clusters/prod-a encrypts with it"), "{error}");

    let (bed, waits) = gated().await;
    settled(&bed, "prod-a", None).await;
    let (updated, destroyed) =
        overtaken(&waits, record_name::CLUSTERS, bed.run(update()), bed.run(destroy(2))).await;
    destroyed.unwrap();
    // An update that is refused for its key is an operation that failed.
    let ClusterOperation { end, .. } = updated.unwrap();
    let failure = end.and_then(|end| end.failure).expect("it failed");
    assert!(failure.message.contains("current state is: DESTROY_SCHEDULED"), "{}", failure.message);
    let cluster = bed.run(GetCluster { name: cluster_name("prod-a") }).await.unwrap().cluster;
    assert!(cluster.needed_to_read().is_empty());
}

#[tokio::test]
async fn p9_a_cluster_that_comes_as_the_material_goes_is_seen() {
    let (bed, waits) = gated().await;
    bed.run(destroy(1)).await.unwrap();
    bed.clock.advance(31 * DAY);
    "material/".clone_into(&mut waits.record.lock().unwrap());
    let overtaking = async {
        waits.has_come.notified().await;
        let done = bed.run(create("prod-a", Some(key_name()))).await;
        waits.may_go.notify_one();
        done
    };
    let (tick, made) = tokio::join!(bed.service.tick(), overtaking);
    made.unwrap();
    assert_eq!(tick, Tick { kept: 1, ..Tick::default() });
    assert_ne!(PROJECT, CLUSTERS);
}
