//! After a rotation, clusters that want it are encrypted anew without being asked for.

use keystead_model::cluster::reencryption::{PACE, PAUSE};

use super::*;
use crate::Tick;

const STARTED: Tick = Tick { rotated: 0, destroyed: 0, kept: 0, reencrypted: 1, failed: 0 };

impl Scene {
    /// The same, by the label of the cluster.
    async fn wanted() -> (Self, Agent) {
        let (scene, one) = Self::encrypted().await;
        scene.label(cluster(), "after-rotation").await.unwrap();
        (scene, one)
    }

    async fn label(&self, cluster: ClusterName, value: &str) -> Result<ClusterOperation, KmsError> {
        let labels = [("keystead-reencrypt".to_owned(), value.to_owned())].into();
        self.run(SetClusterLabels { name: cluster, labels, fingerprint: String::new() }).await
    }

    async fn rotate(&self, number: u32) {
        self.run(CreateCryptoKeyVersion { key: key("a") }).await.unwrap();
        let version = crate::testbed::version(number);
        self.run(UpdateCryptoKeyPrimaryVersion { key: key("a"), version }).await.unwrap();
    }

    /// An agent counts, and is heard.
    async fn counts(&self, agent: &mut Agent, under: &[(u32, u64)]) {
        self.server.clock.advance(A_MOMENT);
        self.report(agent, None).await.unwrap();
        let under = under
            .iter()
            .map(|(number, objects)| (format!("cloudkms-v{number}-a{number}-{DIGEST}"), *objects));
        let observe_time = Some(self.server.clock.now());
        let counted = ReportInventory { observe_time, under: under.collect(), unattributed: 0 };
        self.server.run_as(&self.call_of(&agent.host), counted).await.unwrap();
    }

    async fn tick(&self) -> Tick {
        self.server.service.tick().await
    }

    /// The operations that the server started, the oldest first.
    async fn started(&self) -> Vec<ClusterOperation> {
        let list = ListClusterOperations { project: PROJECT.parse().unwrap(), location: None };
        self.run(list).await.unwrap().into_iter().filter(|it| it.reason.is_some()).collect()
    }

    async fn outdated(&self) -> Option<u64> {
        self.run(GetCluster { name: cluster() }).await.unwrap().outdated.map(|it| it.objects)
    }
}

#[tokio::test]
async fn p18_after_a_rotation_a_cluster_that_wants_it_is_encrypted_anew_and_nobody_asks() {
    let (mut scene, mut one) = Scene::wanted().await;
    scene.counts(&mut one, &[(1, 41)]).await;
    assert_eq!((scene.tick().await, scene.outdated().await), (Tick::default(), None));
    scene.rotate(2).await;
    assert_eq!(scene.outdated().await, Some(41));
    assert_eq!(scene.tick().await, STARTED);
    let [started] = scene.started().await.try_into().unwrap();
    let reason = started.reason.clone().unwrap();
    for said in ["keystead-reencrypt=after-rotation", "41 objects", "primary version 2", "cryptoKeys/a"] {
        assert!(reason.contains(said), "{reason}");
    }
    // It is one like any other: told by any process on the store, and nothing else is done meanwhile.
    assert_eq!(scene.tick().await, Tick::default());
    scene = scene.reopen().await;
    assert_eq!(scene.tick().await, Tick::default());
    let told = scene.report(&mut one, None).await.unwrap().unwrap();
    assert_eq!(
        told,
        Instruction { operation: started.name.operation.clone(), goal: HostGoal::Reencrypt(key("a")) }
    );
    scene.report(&mut one, work(&started, WorkState::Done, "")).await.unwrap();
    let ended = scene.operation(&started).await;
    assert_eq!((ended.end.unwrap().failure, ended.reason), (None, Some(reason)));
    // What was counted before is not so any more, and what is counted now needs nothing.
    assert_eq!(scene.tick().await, Tick::default());
    scene.counts(&mut one, &[(2, 41)]).await;
    assert_eq!((scene.tick().await, scene.outdated().await), (Tick::default(), None));

    let audit = scene.server.audit_text();
    let record = audit.lines().find(|it| it.contains("ReencryptCluster")).expect("a record");
    assert!(record.contains("clusters/prod-a") && record.contains("41 objects"), "{record}");
    assert!(!record.contains("principalEmail"), "nobody asked: {record}");
}

#[tokio::test]
async fn p18_a_cluster_that_does_not_want_it_only_shows_what_is_under_old_versions() {
    let (scene, mut one) = Scene::encrypted().await;
    scene.counts(&mut one, &[(1, 41)]).await;
    scene.rotate(2).await;
    scene.counts(&mut one, &[(1, 40), (2, 1)]).await;
    assert_eq!((scene.tick().await, scene.outdated().await), (Tick::default(), Some(40)));
    for wrong in ["", "now", "after-rotations"] {
        let refused = refused(scene.label(cluster(), wrong).await);
        assert_eq!(refused.class(), ErrorClass::Invalid, "{refused}");
        assert!(refused.to_string().contains("Its only value is after-rotation"), "{refused}");
    }
    let labels = [("keystead-reencrypt".to_owned(), "now".to_owned())].into();
    let name = format!("{}-2", cluster()).parse().unwrap();
    let (settings, initial_version) = (String::new(), String::new());
    let create = CreateCluster { name, key: None, labels, settings, initial_version };
    assert_eq!(refused(scene.run(create).await).class(), ErrorClass::Invalid);
    // From now on it does.
    scene.label(cluster(), "after-rotation").await.unwrap();
    assert_eq!(scene.tick().await, STARTED);
}

#[tokio::test]
async fn p18_a_host_that_always_counts_old_values_has_its_cluster_written_anew_once_a_day() {
    let (scene, mut one) = Scene::wanted().await;
    scene.rotate(2).await;
    for day in 1..=3 {
        scene.counts(&mut one, &[(1, 41)]).await;
        assert_eq!(scene.tick().await, STARTED);
        let started = scene.started().await;
        assert_eq!(started.len(), day);
        scene.report(&mut one, None).await.unwrap();
        scene.report(&mut one, work(&started[day - 1], WorkState::Done, "")).await.unwrap();
        scene.counts(&mut one, &[(1, 41)]).await;
        assert_eq!(scene.tick().await, Tick::default());
        scene.server.clock.advance(PAUSE.try_into().unwrap());
    }
}

#[tokio::test]
async fn p18_what_failed_or_was_cancelled_is_not_started_again_for_a_day() {
    let (scene, mut one) = Scene::wanted().await;
    scene.counts(&mut one, &[(1, 41)]).await;
    // Its key cannot be used: an operation that says why, and not one with each look.
    scene.rotate(2).await;
    let version = |enabled| UpdateCryptoKeyVersion {
        name: CryptoKeyVersionName { key: key("a"), version: crate::testbed::version(2) },
        enabled,
    };
    scene.run(version(false)).await.unwrap();
    assert_eq!(scene.tick().await, STARTED);
    let [refused] = scene.started().await.try_into().unwrap();
    let failure = refused.end.and_then(|it| it.failure).expect("it failed");
    assert!(failure.message.contains("kms keys versions enable 2"), "{}", failure.message);
    scene.run(version(true)).await.unwrap();
    scene.counts(&mut one, &[(1, 41)]).await;
    assert_eq!(scene.tick().await, Tick::default());

    // One that waits for a person on the host is cancelled by another.
    scene.server.clock.advance(PAUSE.try_into().unwrap());
    scene.counts(&mut one, &[(1, 41)]).await;
    assert_eq!(scene.tick().await, STARTED);
    let [_, started] = scene.started().await.try_into().unwrap();
    scene.report(&mut one, None).await.unwrap();
    let waits = work(&started, WorkState::Waiting, "waits for keystead agent approve");
    scene.report(&mut one, waits).await.unwrap();
    assert!(scene.operation(&started).await.detail.contains("keystead agent approve"));
    scene.run(CancelClusterOperation { name: started.name.clone() }).await.unwrap();
    // What began and was cancelled is somebody's to bring to its end: the cluster is on its way.
    scene.server.clock.advance(PAUSE.try_into().unwrap());
    scene.counts(&mut one, &[(1, 41)]).await;
    assert_eq!(scene.tick().await, Tick::default());
    let update = scene.update(Some(key("a"))).await;
    scene.report(&mut one, None).await.unwrap();
    scene.report(&mut one, work(&update, WorkState::Done, "")).await.unwrap();
    scene.counts(&mut one, &[(1, 41)]).await;
    assert_eq!(scene.tick().await, STARTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_clusters_are_encrypted_anew_one_after_the_other_however_many_processes_look() {
    let (scene, mut one) = Scene::wanted().await;
    scene.counts(&mut one, &[(1, 41)]).await;
    // A second cluster, as the first is.
    let other: ClusterName = format!("{}-2", cluster()).parse().unwrap();
    let copy = Cluster { name: other.clone(), id: "2".repeat(64), ..scene.cluster().await };
    let host = scene.hosts().await.remove(0);
    let host_name = format!("{other}/hosts/{}", host.name.host).parse().unwrap();
    let host = ClusterHost { name: host_name, ..host };
    let source = Inventory::source_of(&copy);
    let [inventory] = scene.run(ListInventories { key: key("a") }).await.unwrap().try_into().unwrap();
    let batch = Batch::default()
        .put(record_name::cluster(&other), encode(&copy).unwrap())
        .put(record_name::cluster_host(&host.name), encode(&host).unwrap())
        .put(record_name::inventory(&key("a"), &source), encode(&Inventory { source, ..inventory }).unwrap());
    scene.server.service.ledger.commit(batch, None).await.unwrap().complete().unwrap();
    scene.rotate(2).await;
    let looks = (0..8).map(|_| scene.tick());
    let started: usize = futures_util::future::join_all(looks).await.iter().map(|it| it.reencrypted).sum();
    assert_eq!((started, scene.started().await.len()), (1, 1));
    // One that takes long holds up no other for ever.
    scene.server.clock.advance(PACE.try_into().unwrap());
    for agent in [&host, &one.host] {
        let sequence = 100;
        let report = HostReport {
            sequence,
            agent_version: VERSION.to_owned(),
            control_plane: vec!["cp-1".to_owned()],
            ..HostReport::default()
        };
        scene.server.run_as(&scene.call_of(agent), ReportHost { report }).await.unwrap();
    }
    assert_eq!((scene.tick().await, scene.tick().await), (STARTED, Tick::default()));
    let clusters: Vec<_> = scene.started().await.into_iter().map(|it| it.cluster.to_string()).collect();
    assert_eq!(clusters, ["prod-a", "prod-a-2"]);
}
