use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use keystead_model::ErrorClass;
use tokio::task::JoinSet;

use crate::{Batch, Revision, Store, StoreError};

use super::{commit, get, names, newest, ok};

pub(super) async fn check<F: AsyncFn() -> Arc<dyn Store>>(fresh: &F) {
    one_create_wins(fresh().await).await;
    one_replace_wins(fresh().await).await;
    nothing_is_lost(fresh().await).await;
    a_confirmed_commit_is_seen(fresh().await).await;
    a_list_shows_no_half_batch(fresh().await).await;
    a_dropped_call_is_whole_or_absent(fresh().await).await;
}

/// More than a store groups into one sync, so that winners and losers share one.
const RACERS: u8 = 100;

async fn race(
    store: &Arc<dyn Store>,
    batch: impl Fn(u8) -> Batch,
) -> Vec<(u8, Result<Revision, StoreError>)> {
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        let (store, batch) = (store.clone(), batch(racer));
        racers.spawn(async move { (racer, store.commit(batch).await) });
    }
    racers.join_all().await
}

/// The racers of which exactly one must have won; the others lost with this class.
async fn one_wins(
    store: &Arc<dyn Store>,
    results: Vec<(u8, Result<Revision, StoreError>)>,
    lost: ErrorClass,
) {
    let (won, others): (Vec<_>, Vec<_>) = results.into_iter().partition(|(_, result)| result.is_ok());
    assert_eq!(won.len(), 1, "exactly one of {RACERS} wins");
    for (racer, result) in others {
        let class = result.err().map(|error| error.class());
        assert_eq!(class, Some(lost), "racer {racer} is told that it lost");
    }
    for (racer, result) in won {
        let entry =
            get(&**store, "contested").await.unwrap_or_else(|| panic!("the winner's record is there"));
        assert_eq!((entry.value, Ok(entry.revision)), (vec![racer], result), "and is the winner's");
        assert_eq!(names(&**store, "own", "", 200).await, [format!("own{racer}")], "losers left nothing");
    }
}

async fn one_create_wins(store: Arc<dyn Store>) {
    let batch = |racer| Batch::default().put(format!("own{racer}"), vec![]).create("contested", vec![racer]);
    let results = race(&store, batch).await;
    one_wins(&store, results, ErrorClass::AlreadyExists).await;
}

async fn one_replace_wins(store: Arc<dyn Store>) {
    let at = commit(&*store, Batch::default().create("contested", vec![])).await;
    let batch =
        |racer| Batch::default().replace("contested", at, vec![racer]).put(format!("own{racer}"), vec![]);
    let results = race(&store, batch).await;
    one_wins(&store, results, ErrorClass::Aborted).await;
}

/// Sixteen tasks count one record up by reading, replacing and starting over; every step is there, each with a number of
/// its own.
async fn nothing_is_lost(store: Arc<dyn Store>) {
    const TASKS: u64 = 16;
    const STEPS: u64 = 10;
    commit(&*store, Batch::default().create("counter", 0_u64.to_be_bytes().to_vec())).await;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut revisions = Vec::new();
            while (revisions.len() as u64) < STEPS {
                let entry = get(&*store, "counter").await.unwrap_or_else(|| panic!("the counter is there"));
                let next = count(&entry.value) + 1;
                let batch = Batch::default().replace("counter", entry.revision, next.to_be_bytes().to_vec());
                match store.commit(batch).await {
                    Ok(revision) => revisions.push(revision),
                    Err(error) => assert_eq!(error.class(), ErrorClass::Aborted, "{error}"),
                }
            }
            revisions
        });
    }
    let mut revisions = tasks.join_all().await.concat();
    revisions.sort_unstable();
    let expected: Vec<Revision> = (2..=TASKS * STEPS + 1).map(Revision).collect();
    assert_eq!(revisions, expected, "every commit has a revision of its own, without gaps");
    let counter = get(&*store, "counter").await.map(|entry| count(&entry.value));
    assert_eq!(counter, Some(TASKS * STEPS), "no step is lost");
}

fn count(value: &[u8]) -> u64 {
    value.try_into().map_or_else(|_| panic!("a counter has eight bytes"), u64::from_be_bytes)
}

/// Whoever hears of a commit, by whatever way, sees it in every kind of read.
async fn a_confirmed_commit_is_seen(store: Arc<dyn Store>) {
    for round in 0..50_u8 {
        let name = format!("r{round:03}");
        let revision = commit(&*store, Batch::default().create(name.as_str(), vec![round])).await;
        let mut readers = JoinSet::new();
        for _ in 0..8 {
            let (store, name) = (store.clone(), name.clone());
            readers.spawn(async move {
                let entry = get(&*store, &name).await;
                assert_eq!(entry.map(|entry| entry.revision), Some(revision), "get sees it");
                assert_eq!(names(&*store, &name, "", 1).await, [name], "list sees it");
                assert_eq!(ok(store.count("r").await, "count"), u64::from(round) + 1, "count sees it");
                assert_eq!(newest(&*store).await, revision, "changes sees it");
            });
        }
        readers.join_all().await;
    }
}

async fn a_list_shows_no_half_batch(store: Arc<dyn Store>) {
    let all = |round: u8| {
        (0..20).fold(Batch::default(), |batch, record| batch.put(format!("p{record:02}"), vec![round]))
    };
    commit(&*store, all(0)).await;
    let mut tasks = JoinSet::new();
    let writing = store.clone();
    tasks.spawn(async move {
        for round in 1..100 {
            commit(&*writing, all(round)).await;
        }
    });
    for _ in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut seen = 0;
            while seen < 99 {
                let entries = ok(store.list("p", "", 100).await, "list");
                let rounds: Vec<u8> =
                    entries.iter().filter_map(|entry| entry.value.first().copied()).collect();
                let first = rounds.first().copied().unwrap_or_default();
                assert_eq!(rounds, [first; 20], "one answer is one view");
                assert!(first >= seen, "and time does not run backwards");
                seen = first;
            }
        });
    }
    tasks.join_all().await;
}

async fn a_dropped_call_is_whole_or_absent(store: Arc<dyn Store>) {
    for round in 0..20_u8 {
        let batch = Batch::default().put("left", vec![round]).put("right", vec![round]);
        let mut call = store.commit(batch);
        // Polled once, which hands it over; then the caller is gone.
        poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await;
        drop(call);
        commit(&*store, Batch::default().put("barrier", vec![round])).await;
        let sides: Vec<_> = ok(store.list("", "", 10).await, "list")
            .into_iter()
            .filter(|entry| entry.name != "barrier")
            .map(|entry| (entry.revision, entry.value))
            .collect();
        let first = sides.first().cloned();
        assert!(sides.len() != 1 && sides.iter().all(|side| Some(side) == first.as_ref()), "no half of it");
    }
}
