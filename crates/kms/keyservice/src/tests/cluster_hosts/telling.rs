//! What receivers of webhooks are told, and what is shown of clusters.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::records::notice::{Event, EventKind};
use crate::schedule::{ClusterWatch, Schedule};
use crate::testbed::version;
use crate::{ClusterFigures, WaitingNotice, Webhook};

const HOUR: Duration = Duration::from_secs(3600);

/// With one receiver of everything, and one that hears only of material that is gone.
async fn told() -> Scene {
    let webhook = |name: &str, events: &[EventKind]| Webhook { name: name.to_owned(), events: events.into() };
    let webhooks =
        vec![webhook("all", &EventKind::CHOOSABLE), webhook("gone", &[EventKind::VersionDestroyed])];
    Scene::with(Settings { webhooks, ..Settings::default() }).await
}

impl Scene {
    async fn waiting(&self, webhook: &str) -> Vec<WaitingNotice> {
        self.server.service.waiting_notices(webhook, "").await.unwrap()
    }

    /// Type and resource of what waits for a receiver; from then on it waits no more.
    async fn hear(&self, webhook: &str) -> Vec<(String, String)> {
        let mut heard = Vec::new();
        for notice in self.waiting(webhook).await {
            let body: Value = serde_json::from_str(&notice.notice.body).unwrap();
            assert_eq!(
                body["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap(),
                self.server.clock.now()
            );
            assert!(!body["data"]["text"].as_str().unwrap().is_empty());
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            heard.push((text(&body["type"]), text(&body["data"]["resource"])));
            self.server.service.delivered(&notice).await.unwrap();
        }
        heard
    }

    /// Some values of the cluster, by the version of key `a` that they are under.
    async fn count(&self, agent: &Agent, values: &[(u32, u64)]) {
        self.server.clock.advance(A_MOMENT);
        let under =
            values.iter().map(|(number, count)| (format!("cloudkms-v{number}-a{number}-{DIGEST}"), *count));
        let inventory = ReportInventory {
            observe_time: Some(self.server.clock.now()),
            under: under.collect(),
            unattributed: 0,
        };
        self.server.run_as(&self.call_of(&agent.host), inventory).await.unwrap();
    }

    async fn look(&self, watch: &mut ClusterWatch, counted: Instant) -> ClusterFigures {
        watch.look(&self.server.service, counted).await.unwrap().expect("it is time to look")
    }
}

fn heard(kind: EventKind, resource: impl ToString) -> (String, String) {
    (kind.name().to_owned(), resource.to_string())
}

fn a(number: u32) -> CryptoKeyVersionName {
    CryptoKeyVersionName { key: key("a"), version: version(number) }
}

#[tokio::test]
async fn p12_each_step_of_a_destruction_is_told_with_its_commit() {
    let scene = told().await;
    scene.run(CreateCryptoKeyVersion { key: key("a") }).await.unwrap();
    assert_eq!(scene.waiting("all").await.len(), 0);
    let service = &scene.server.service;

    scene.run(DestroyCryptoKeyVersion { name: a(2) }).await.unwrap();
    // In one batch with the change: the store knows neither without the other.
    let records = [record_name::version(&a(2)), scene.waiting("all").await[0].record.clone()];
    let [changed, notice] =
        records.map(|record| async move { service.store.get(&record).await.unwrap().unwrap() });
    assert_eq!(changed.await.revision, notice.await.revision);
    assert_eq!(service.figures().versions_to_destroy, 1);
    refused(scene.run(DestroyCryptoKeyVersion { name: a(2) }).await);
    assert_eq!(scene.hear("all").await, [heard(EventKind::DestructionScheduled, a(2))]);

    scene.run(RestoreCryptoKeyVersion { name: a(2) }).await.unwrap();
    assert_eq!(scene.hear("all").await, [heard(EventKind::VersionRestored, a(2))]);
    assert_eq!(service.figures().versions_to_destroy, 0);
    scene.run(DestroyCryptoKeyVersion { name: a(2) }).await.unwrap();
    scene.hear("all").await;
    assert_eq!(scene.waiting("gone").await.len(), 0);

    scene.server.clock.advance(31 * 24 * HOUR);
    let mut schedule = Schedule::new(None, Instant::now());
    assert_eq!(schedule.look(service, Instant::now()).await.destroyed, 1);
    let gone = [heard(EventKind::VersionDestroyed, a(2))];
    assert_eq!(scene.hear("all").await, gone);
    assert_eq!(scene.hear("gone").await, gone);
}

#[tokio::test]
async fn p12_a_destruction_by_force_is_told_as_such() {
    let scene = told().await;
    scene.run(CreateCryptoKeyVersion { key: key("a") }).await.unwrap();
    let plaintext = b"seed".to_vec().into();
    scene.run(Encrypt { key: key("a"), version: None, plaintext, caller_data: Vec::new() }).await.unwrap();
    refused(scene.run(DestroyCryptoKeyVersion { name: a(1) }).await);
    assert_eq!(scene.waiting("all").await.len(), 0, "a refusal is no step");
    let update = UpdateCryptoKey {
        name: key("a"),
        labels: Some([("keystead-destroy".to_owned(), "1".to_owned())].into()),
        rotation_period_s: None,
        next_rotation_time: None,
    };
    scene.run(update).await.unwrap();
    scene.run(DestroyCryptoKeyVersion { name: a(1) }).await.unwrap();
    let mut told = scene.hear("all").await;
    told.sort();
    assert_eq!(
        told,
        [heard(EventKind::DestructionForced, a(1)), heard(EventKind::DestructionScheduled, a(1))]
    );
}

#[tokio::test]
async fn an_operation_that_fails_is_told_and_counted_by_its_reason() {
    let (scene, mut one) = told().await.and_encrypted().await;
    let failed = |scene: &Scene| {
        let counts = scene.server.service.figures().failed_operations;
        counts.into_iter().filter(|(.., count)| *count > 0).collect::<Vec<_>>()
    };
    assert_eq!(scene.server.service.figures().failed_operations.len(), 6, "each is there from the start");
    assert_eq!(failed(&scene), []);
    // The key has no primary version that encrypts.
    scene
        .run(UpdateCryptoKeyVersion { name: CryptoKeyVersionName { key: key("b"), ..a(1) }, enabled: false })
        .await
        .unwrap();
    let refused = scene.update(Some(key("b"))).await;
    let by_host = scene.update(Some(key("a"))).await;
    scene.report(&mut one, None).await.unwrap();
    let on_host = work(&by_host, WorkState::Failed, "no disk");
    scene.report(&mut one, on_host).await.unwrap();
    let told: Value = serde_json::from_str(&scene.waiting("all").await[1].notice.body).unwrap();
    assert_eq!(told["data"]["text"], "On cluster prod-a: host cp-1: no disk");
    let cancelled = scene.update(None).await;
    scene.server.clock.advance(A_MOMENT);
    scene.run(CancelClusterOperation { name: cancelled.name.clone() }).await.unwrap();
    let told: Vec<_> = scene.waiting("all").await.iter().map(|it| it.notice.body.clone()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, operation) in told.iter().zip([&refused, &by_host, &cancelled]) {
        assert!(
            told.contains("cluster.operation_failed") && told.contains(&operation.name.to_string()),
            "{told}"
        );
    }
    assert_eq!(failed(&scene), [("update", "key", 1), ("update", "host", 1), ("update", "cancelled", 1)]);
}

#[tokio::test]
async fn a_silent_agent_is_told_once_and_once_when_it_is_back() {
    let (scene, mut one) = told().await.and_encrypted().await;
    scene.invite("cp-2").await;
    let (mut watch, start) = (ClusterWatch::default(), Instant::now());
    let figures = scene.look(&mut watch, start).await;
    assert_eq!((figures.hosts_heard, figures.hosts_silent, figures.hosts_invited), (1, 0, 1));
    assert_eq!((figures.encrypted, figures.plain, figures.in_operation), (1, 0, 0));
    assert_eq!(watch.look(&scene.server.service, start).await.unwrap(), None, "not yet again");

    scene.server.clock.advance(Duration::from_secs(14 * 60));
    let figures = scene.look(&mut watch, start + 14 * 60 * Duration::from_secs(1)).await;
    assert_eq!((figures.hosts_heard, figures.hosts_silent), (0, 1));
    assert_eq!(scene.waiting("all").await.len(), 0, "silent, and not for long");
    scene.server.clock.advance(Duration::from_secs(60));
    // A process that has just started, or whose clock has jumped, gives agents the time to say something.
    let mut watch = ClusterWatch::default();
    scene.look(&mut watch, start).await;
    scene.look(&mut watch, start + Duration::from_secs(179)).await;
    assert_eq!(scene.waiting("all").await.len(), 0);
    scene.look(&mut watch, start + Duration::from_secs(200)).await;
    assert_eq!(scene.hear("all").await, [heard(EventKind::AgentAway, &one.host.name)]);

    // Another process knows that it was told.
    let scene = scene.reopen().await;
    let mut watch = ClusterWatch::default();
    for seconds in [0, 200, 400] {
        scene.look(&mut watch, start + Duration::from_secs(seconds)).await;
    }
    assert_eq!(scene.waiting("all").await.len(), 0);
    scene.report(&mut one, None).await.unwrap();
    scene.look(&mut watch, start + Duration::from_secs(600)).await;
    assert_eq!(scene.hear("all").await, [heard(EventKind::AgentBack, &one.host.name)]);
    scene.look(&mut watch, start + Duration::from_secs(700)).await;
    assert_eq!(scene.waiting("all").await.len(), 0);

    // One that is removed while it is away leaves nothing behind.
    scene.server.clock.advance(HOUR);
    for seconds in [800, 1000] {
        scene.look(&mut watch, start + Duration::from_secs(seconds)).await;
    }
    assert_eq!(scene.hear("all").await.len(), 1);
    scene.run(RemoveHost { name: one.host.name.clone() }).await.unwrap();
    scene.look(&mut watch, start + Duration::from_secs(1200)).await;
    assert_eq!(scene.waiting("all").await.len(), 0);
    assert_eq!(scene.server.service.store.count("lasting/").await.unwrap(), 0);
}

#[tokio::test]
async fn values_under_old_versions_are_shown_at_once_and_told_after_a_day() {
    let (scene, one) = told().await.and_encrypted().await;
    let (mut watch, start) = (ClusterWatch::default(), Instant::now());
    let looks = |number: u32| start + number * Duration::from_secs(20);
    let made = scene.cluster().await.create_time;
    assert_eq!(scene.look(&mut watch, looks(0)).await.oldest_inventory, Some(made), "it was never counted");

    scene.count(&one, &[(1, 40)]).await;
    let figures = scene.look(&mut watch, looks(1)).await;
    assert_eq!((figures.old_values, figures.clusters_with_old_values), (0, 0));
    assert_eq!(figures.oldest_inventory, Some(scene.server.clock.now()));
    scene.run(CreateCryptoKeyVersion { key: key("a") }).await.unwrap();
    scene.run(UpdateCryptoKeyPrimaryVersion { key: key("a"), version: version(2) }).await.unwrap();
    let figures = scene.look(&mut watch, looks(2)).await;
    assert_eq!((figures.old_values, figures.clusters_with_old_values), (40, 1));
    scene.server.clock.advance(23 * HOUR);
    scene.count(&one, &[(1, 38), (2, 2)]).await;
    assert_eq!(scene.look(&mut watch, looks(3)).await.old_values, 38);
    let is_told =
        |waiting: &[(String, String)]| waiting.iter().any(|(kind, _)| kind == EventKind::OldVersions.name());
    assert!(!is_told(&scene.hear("all").await));

    // Since when is a record: any process goes on with it.
    let scene = scene.reopen().await;
    scene.server.clock.advance(HOUR);
    let mut watch = ClusterWatch::default();
    scene.look(&mut watch, looks(4)).await;
    assert_eq!(scene.hear("all").await, [heard(EventKind::OldVersions, cluster())]);
    scene.server.clock.advance(48 * HOUR);
    scene.look(&mut watch, looks(5)).await;
    assert!(!is_told(&scene.hear("all").await), "once");
    scene.count(&one, &[(2, 40)]).await;
    assert_eq!(scene.look(&mut watch, looks(6)).await.old_values, 0);
    assert_eq!(scene.server.service.store.count("lasting/old-versions/").await.unwrap(), 0);
    // On the way to another key, what is under the first one is old.
    scene.update(Some(key("b"))).await;
    assert_eq!(scene.look(&mut watch, looks(7)).await.old_values, 40);
}

#[tokio::test]
async fn what_waits_for_a_receiver_is_limited_in_number_and_age_and_that_is_told() {
    let scene = told().await;
    let service = &scene.server.service;
    let events: Vec<Event> =
        (0..110).map(|it| Event::new(EventKind::VersionRestored, it, "x".repeat(9000))).collect();
    for _ in 0..10 {
        let batch = service.telling(Batch::default(), &events).unwrap();
        service.ledger.commit(batch, None).await.unwrap().complete().unwrap();
        scene.server.clock.advance(Duration::from_secs(1));
    }
    let longest = scene.waiting("all").await.iter().map(|it| it.notice.body.len()).max();
    assert!(longest.is_some_and(|it| it < 4096), "{longest:?}");
    let figures = service.limit_notices().await.unwrap();
    let all = figures.iter().find(|it| it.name == "all").unwrap();
    // One of those that wait is about those that do not.
    assert!((1000..=1001).contains(&all.waiting) && all.dropped + all.waiting == 1101, "{all:?}");
    assert_eq!(figures.iter().find(|it| it.name == "gone").map(|it| (it.waiting, it.dropped)), Some((0, 0)));
    let first = scene.waiting("all").await.remove(0);
    let told: Value = serde_json::from_str(&first.notice.body).unwrap();
    assert_eq!(told["type"], "webhook.notices_dropped");
    assert!(
        told["data"]["text"].as_str().unwrap().starts_with(&format!("{} notices", all.dropped)),
        "{told}"
    );
    // The count changes while it is being delivered: the newer one is told too.
    scene.server.clock.advance(73 * HOUR);
    let figures = service.limit_notices().await.unwrap();
    assert_eq!(figures[0].dropped, 1100);
    service.delivered(&first).await.unwrap();
    let left = scene.waiting("all").await;
    assert_eq!(left.len(), 1);
    assert!(left[0].notice.body.contains("1100 notices") && left[0].notice.id != first.notice.id);
    service.delivered(&left[0]).await.unwrap();
    // Any process goes on with the count.
    let scene = scene.reopen().await;
    let figures = scene.server.service.limit_notices().await.unwrap();
    assert_eq!((figures[0].waiting, figures[0].dropped), (0, 1100));
}
