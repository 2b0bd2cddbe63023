//! Hosts that find each other through Leases: who drives, who waits, and what a part does for whom.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use keystead_cluster::executor::{
    AccessError, DriverLease, HostAccess, LeaseError, Part, PartError, PeerHost, Record, Turn, Waits,
    WantedGoal, Wants, take_turn,
};
use keystead_cluster::host::{Answer, Change, Task};
use keystead_cluster::provider_order::KmsPlugin;
use keystead_cluster::rollout::{Goal, Provider};

use crate::fake::{self, Fake};
use crate::hosts::Scene;

const DRIVER: &str = "keystead-rollout";
const HOST: &str = "keystead-host-cp-1";
/// An answer comes within two looks, of half a second each.
const LIMIT: Duration = Duration::from_secs(60);

fn enable() -> Goal {
    Goal::Enable { to: Provider::KmsV2 { name: "kms".into() }, keep_identity: false }
}

fn record(goal: Goal, tenure: u64, serial: u64, reached: bool) -> Record {
    let mut record = Record::new("cluster-a".into(), goal, vec!["secrets".into()], Vec::new());
    (record.tenure, record.serial, record.reached) = (tenure, serial, reached);
    record
}

fn wants(goal: Goal, plugins: Vec<KmsPlugin>) -> Wants {
    Wants { goal: WantedGoal::Exactly(goal), plugins, resources: vec!["secrets".into()] }
}

fn lease(name: &str, holder: Option<&str>, renewed: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "holderIdentity": holder, "renewTime": renewed },
    })
}

/// The Lease of a driver elsewhere.
fn driven(holder: Option<&str>, renewed: &str, record: &Record) -> Value {
    let record = serde_json::to_string(record).expect("JSON");
    lease(DRIVER, holder, renewed, json!({ "keystead.io/tenure": "5", "keystead.io/rollout": record }))
}

async fn acquire(fake: &Fake, holder: &str) -> Result<(DriverLease, CancellationToken), LeaseError> {
    let stop = CancellationToken::new();
    let servers = vec![fake.server.clone()];
    let taken = DriverLease::acquire(servers, holder.into(), stop.clone(), &mut |_| {}).await;
    taken.map(|(lease, _)| (lease, stop))
}

/// Runs beside the test.
fn begun<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinSet<T> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    tasks
}

async fn ended<T: 'static>(mut work: JoinSet<T>) -> T {
    work.join_next().await.expect("it was begun").expect("it ends")
}

/// A command that waits for its turn, and what it says.
struct Waiting {
    turn: JoinSet<Result<Turn, LeaseError>>,
    said: mpsc::UnboundedReceiver<String>,
    stop: CancellationToken,
}

impl Waiting {
    /// Until it knows that another driver renews its Lease, whose last record was reached.
    async fn behind_a_driver(fake: &Fake, old: &Record) -> Self {
        fake.put_lease(driven(Some("cp-2_1-1"), "1", old));
        let (say, said) = mpsc::unbounded_channel();
        let (servers, stop) = (vec![fake.server.clone()], CancellationToken::new());
        let (before, stopped) = (Some(old.version()), stop.clone());
        let turn = begun(async move {
            let mut tell = |waits: Waits<'_>| drop(say.send(format!("{waits:?}")));
            let wants = wants(enable(), Vec::new());
            take_turn(&servers, "cp-1_1-1", &wants, before, LIMIT, &stopped, &mut tell).await
        });
        let mut waiting = Self { turn, said, stop };
        assert!(waiting.said.recv().await.expect("it says so").starts_with("ForCertainty"));
        fake.put_lease(driven(Some("cp-2_1-1"), "2", old));
        assert!(waiting.said.recv().await.expect("it says so").starts_with("WhileDriven"));
        waiting
    }
}

#[tokio::test]
async fn only_what_was_reached_since_a_host_waits_is_what_it_waited_for() {
    let fake = Fake::start(0, None).await.expect("starts");
    let old = record(enable(), 5, 9, true);
    for (last, is_reached) in [
        (old.clone(), false),
        (record(enable(), 5, 12, true), true),
        (record(enable(), 6, 1, true), true),
        (record(enable(), 6, 1, false), false),
        (record(Goal::Disable, 6, 1, true), false),
    ] {
        let waiting = Waiting::behind_a_driver(&fake, &old).await;
        fake.put_lease(driven(None, "3", &last));
        match ended(waiting.turn).await.expect("its turn comes") {
            Turn::Reached(found) => assert!(is_reached && found == last, "{found:?}"),
            Turn::Drives(lease, found) => {
                assert!(!is_reached && found.as_ref() == Some(&last), "{found:?}");
                lease.release().await;
            }
        }
        let left = fake.lease(DRIVER).expect("it stays");
        assert_eq!(left["spec"]["holderIdentity"], Value::Null, "it is given back");
    }
}

#[tokio::test]
async fn whoever_waits_for_its_turn_can_be_told_to_stop() {
    let fake = Fake::start(0, None).await.expect("starts");
    let waiting = Waiting::behind_a_driver(&fake, &record(enable(), 5, 9, false)).await;
    waiting.stop.cancel();
    let outcome = ended(waiting.turn).await.map(drop).expect_err("stopped");
    assert!(matches!(outcome, LeaseError::Stopped), "{outcome}");
    assert_eq!(fake.lease(DRIVER).expect("it stays")["spec"]["holderIdentity"], "cp-2_1-1");
}

/// The process that had it stood still, and another one of the same host went on.
#[tokio::test]
async fn a_lease_that_has_another_number_is_lost_although_its_holder_has_the_same_name() {
    let fake = Fake::start(0, None).await.expect("starts");
    let (held, stop) = acquire(&fake, "cp-1_1-1").await.expect("it is free");
    held.keep(&record(enable(), 1, 1, false)).await.expect("it is held");
    let mut taken = fake.lease(DRIVER).expect("it is there");
    taken["metadata"]["annotations"]["keystead.io/tenure"] = (held.tenure() + 1).to_string().into();
    fake.put_lease(taken.clone());
    let lost = held.keep(&record(enable(), 1, 2, false)).await.expect_err("it is lost");
    assert!(matches!(&lost, LeaseError::Lost(other) if other == "cp-1_1-1"), "{lost}");
    assert_eq!(held.lost_to().await.as_deref(), Some("cp-1_1-1"));
    stop.cancelled().await;
    held.release().await;
    let left = fake.lease(DRIVER).expect("it is there");
    assert_eq!(left["spec"], taken["spec"], "what is lost is not given back");
    let gone = held.keep(&record(enable(), 1, 3, false)).await.expect_err("it is given back");
    assert!(matches!(gone, LeaseError::GivenBack | LeaseError::Lost(_)), "{gone}");
}

#[tokio::test]
async fn a_lease_that_others_change_each_time_is_tried_three_times() {
    let fake = Fake::start(0, None).await.expect("starts");
    let (held, _stop) = acquire(&fake, "cp-1_1-1").await.expect("it is free");
    let writes = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&writes);
    let conflict = move |method: &str, path: &str, _: usize| {
        (method == "PUT" && path.contains("/leases/")).then(|| {
            *counted.lock().expect("not poisoned") += 1;
            fake::Answer::new(409, "it was changed")
        })
    };
    fake.state.lock().expect("not poisoned").instead = Some(Box::new(conflict));
    let failed = held.keep(&record(enable(), 1, 1, false)).await.expect_err("not renewed");
    assert!(matches!(failed, LeaseError::Contended) && failed.is_away(), "{failed}");
    assert_eq!(*writes.lock().expect("not poisoned"), 3);
}

#[tokio::test]
async fn a_number_that_no_clock_can_have_given_is_not_counted_on_from() {
    let fake = Fake::start(0, None).await.expect("starts");
    let now: u64 = jiff::Timestamp::now().as_second().try_into().expect("after 1970");
    let ahead = (now + 2 * 24 * 60 * 60).to_string();
    fake.put_lease(lease(DRIVER, None, "1", json!({ "keystead.io/tenure": ahead })));
    let refused = acquire(&fake, "cp-1_1-1").await.map(drop).expect_err("refused");
    assert!(matches!(refused, LeaseError::Ahead(_)), "{refused}");
    assert!(refused.to_string().contains("delete lease keystead-rollout"), "{refused}");
}

#[tokio::test]
async fn a_host_that_is_not_to_be_asked_gets_no_mail() {
    let fake = Fake::start(0, None).await.expect("starts");
    fake.put_lease(lease(HOST, Some("cp-1_1-1"), "1", json!({})));
    let servers = vec![fake.server.clone()];
    let peer = PeerHost { name: "cp-1".into(), servers, driver: "nobody".into(), limit: Duration::ZERO };
    let task = Task::Look { resources: vec!["secrets".into()], plugins: Vec::new() };
    let error = HostAccess::Peer(peer).perform(&task).await.expect_err("not asked");
    assert!(matches!(&error, AccessError::NoAnswer { reason, .. } if reason.contains("--yes")), "{error}");
    assert_eq!(fake.state.lock().expect("not poisoned").lease_calls, Vec::<String>::new());
}

/// A part that runs, and what it says.
struct Served {
    ended: JoinSet<Result<(), PartError>>,
    said: mpsc::UnboundedReceiver<String>,
    stop: CancellationToken,
}

impl Served {
    fn start(fake: &Fake, scene: &Scene, wants: Wants) -> Self {
        let (servers, host) = (vec![fake.server.clone()], scene.host.clone());
        let part = Part { host, servers, holder: "cp-1_1-1".into(), wants };
        let (say, said) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let ended =
            begun(
                async move { part.serve(&stopped, &mut |text: &str| drop(say.send(text.to_owned()))).await },
            );
        Self { ended, said, stop }
    }
}

fn peer(fake: &Fake, driver: &DriverLease) -> HostAccess {
    let servers = vec![fake.server.clone()];
    let driver = driver.driver().to_owned();
    HostAccess::Peer(PeerHost { name: "cp-1".into(), servers, driver, limit: LIMIT })
}

async fn refused(host: &HostAccess, task: Task, why: &str) {
    match host.perform(&task).await {
        Err(AccessError::Remote { message, .. }) => assert!(message.contains(why), "{why}: {message}"),
        other => panic!("{why}: {other:?}"),
    }
}

#[tokio::test]
async fn a_part_changes_only_what_its_own_command_asked_for() {
    let fake = Fake::start(0, None).await.expect("starts");
    let scene = Scene::new();
    let (driver, _stop) = acquire(&fake, "cp-2_1-1").await.expect("it is free");
    let mut shared = record(enable(), driver.tenure(), 1, false);
    driver.keep(&shared).await.expect("it is held");
    let served = Served::start(&fake, &scene, wants(enable(), vec![scene.plugin("kms")]));
    let host = peer(&fake, &driver);
    let plugins = vec![scene.plugin("kms"), scene.plugin("a-socket-that-only-the-driver-names")];
    let look = Task::Look { resources: vec!["secrets".into()], plugins };
    let Ok(Answer::Report(report)) = host.perform(&look).await else { panic!("no report") };
    let asked: Vec<String> = report.plugins.iter().map(|it| it.provider.to_string()).collect();
    assert_eq!(asked, ["kms:v2:kms"]);

    let before = scene.look().await.seen;
    let change = |change: Change| Task::Change { change, seen: before.clone() };
    let under = |tenure, asked| Task::Under { tenure, asked: Box::new(asked) };
    let now = |asked| under(driver.tenure(), change(asked));
    let write = || scene.write(&["identity", "kms:v2:kms"], vec![scene.plugin("kms")]);
    refused(&host, change(write()), "a change comes with the number of the driver").await;
    refused(&host, under(driver.tenure() + 1, change(write())), "has not the number").await;
    refused(&host, now(scene.write(&["kms:v2:other"], Vec::new())), "nothing is written with").await;
    let remove = |resource: &str| Change::RemoveFlag { resources: vec![resource.into()] };
    refused(&host, now(remove("secrets")), "the flag is not taken away").await;
    let Change::Write { order, plugins, .. } = write() else { panic!("a write") };
    let beside = Change::Write { resources: vec!["configmaps".into()], order, plugins };
    refused(&host, now(beside), "not for configmaps").await;
    // A goal that is only shared is nobody's order.
    (shared.goal, shared.serial) = (Goal::Disable, 2);
    driver.keep(&shared).await.expect("it is held");
    refused(&host, now(remove("secrets")), "is to enable encryption with kms:v2:kms").await;
    refused(&host, now(Change::Restart { process: "1-1".into() }), "is to enable encryption").await;
    assert_eq!(scene.look().await.seen, before);

    (shared.goal, shared.serial) = (enable(), 3);
    driver.keep(&shared).await.expect("it is held");
    let done = host.perform(&now(write())).await;
    assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
    assert_ne!(scene.look().await.seen, before);
    served.stop.cancel();
    ended(served.ended).await.expect("told to");
    assert_eq!(fake.lease(HOST), None, "whoever drives sees that it has ended");
}

#[tokio::test]
async fn two_processes_do_not_do_the_part_of_one_host() {
    let fake = Fake::start(0, None).await.expect("starts");
    let scene = Scene::new();
    let others = |renewed: &str| lease(HOST, Some("cp-1_2-2"), renewed, json!({}));
    fake.put_lease(others("1"));
    let mut late = Served::start(&fake, &scene, wants(enable(), Vec::new()));
    assert!(late.said.recv().await.expect("it says so").contains("cp-1_2-2"));
    fake.put_lease(others("2"));
    let outcome = ended(late.ended).await.expect_err("refused");
    assert!(matches!(&outcome, PartError::Taken { holder, .. } if holder == "cp-1_2-2"), "{outcome}");
    assert!(fake.lease(HOST).is_some(), "it is not this one's to remove");

    // One that serves already notices too.
    fake.put_lease(lease(HOST, None, "3", json!({})));
    let served = Served::start(&fake, &scene, wants(enable(), Vec::new()));
    let is_held = || fake.lease(HOST).is_some_and(|it| it["spec"]["holderIdentity"] == "cp-1_1-1");
    until(is_held).await;
    fake.put_lease(others("4"));
    assert!(ended(served.ended).await.is_err());
    assert!(fake.lease(HOST).is_some(), "it is not this one's to remove");
}

#[tokio::test]
async fn programs_that_do_not_understand_each_other_say_so() {
    let fake = Fake::start(0, None).await.expect("starts");
    let scene = Scene::new();
    let (driver, _stop) = acquire(&fake, "cp-2_1-1").await.expect("it is free");
    let annotation = |name: &str| {
        let text = fake.lease(HOST)?["metadata"]["annotations"][name].as_str()?.to_owned();
        serde_json::from_str::<Value>(&text).ok()
    };
    let put = |name: &str, mail: Value| {
        let mut host = fake.lease(HOST).expect("it is there");
        host["metadata"]["annotations"][name] = mail.to_string().into();
        fake.put_lease(host);
    };
    // A newer driver asks for something that this program does not know.
    let mut served = Served::start(&fake, &scene, wants(enable(), Vec::new()));
    until(|| fake.lease(HOST).is_some()).await;
    let task = json!({ "task": "polish", "how": "well" });
    put(
        "keystead.io/task",
        json!({ "id": "1", "driver": driver.driver(), "version": "99.1.2", "task": task }),
    );
    let said = served.said.recv().await.expect("it says so");
    assert!(said.contains("99.1.2") && said.contains("the same version"), "{said}");
    until(|| annotation("keystead.io/answer").is_some_and(|it| it["id"] == "1")).await;
    served.stop.cancel();
    ended(served.ended).await.expect("told to");

    // A newer part answers something that this program does not know.
    fake.put_lease(lease(HOST, Some("cp-1_1-1"), "1", json!({})));
    let host = peer(&fake, &driver);
    let asked =
        begun(async move { host.perform(&Task::Look { resources: Vec::new(), plugins: Vec::new() }).await });
    until(|| annotation("keystead.io/task").is_some()).await;
    let id = annotation("keystead.io/task").expect("it is there")["id"].clone();
    put("keystead.io/answer", json!({ "id": id, "version": "99.1.2", "reply": { "polished": true } }));
    match ended(asked).await {
        Err(AccessError::Remote { message, .. }) => assert!(message.contains("99.1.2"), "{message}"),
        other => panic!("{other:?}"),
    }
}

/// Looks at what is played until it is so.
async fn until(is_so: impl Fn() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, looks).await.expect("it comes");
}
