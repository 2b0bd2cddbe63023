//! Bytes that are erased are in no file. Each test first finds them there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use keystead_store::{Batch, Expect, Store, Write};
use keystead_store_sqlite::SqliteStore;

use crate::testbed::{Numbers, Testbed, put, value};

#[tokio::test]
async fn p9_erased_material_is_in_no_file() {
    let testbed = Testbed::new();
    let store = testbed.open();
    let mut numbers = Numbers(1);
    for len in [16, 17, 64, 200, 5_000, 100_000] {
        let (deleted, replaced, kept) = (numbers.bytes(len), numbers.bytes(len), numbers.bytes(len));
        let batch = Batch::default()
            .put("material/deleted", deleted.clone())
            .put("material/replaced", replaced.clone())
            .put("material/kept", kept.clone());
        let created = store.commit(batch).await.unwrap();
        // A long value is split over pages; its first sixteen bytes are together.
        for secret in [&deleted, &replaced] {
            assert!(
                !testbed.files_with(&secret[..16]).is_empty(),
                "the control: {len} bytes are on the disk"
            );
            assert!(!testbed.files_with(&secret[len - 16..]).is_empty());
        }
        let batch = Batch::default()
            .delete("material/deleted", created)
            .replace("material/replaced", created, b"new".to_vec())
            .erasing();
        store.commit(batch).await.unwrap();
        erased(&store).await;
        assert!(left(&testbed, &[deleted, replaced]).is_empty(), "a piece of {len} bytes is left");
        assert_eq!(value(&store, "material/kept").await.unwrap(), kept);
        assert_eq!(value(&store, "material/replaced").await.unwrap(), b"new");
    }
}

/// Without asking: where a record was, there are zeros once the log is gone.
#[tokio::test]
async fn a_plain_delete_is_overwritten_in_place() {
    let testbed = Testbed::new();
    let store = testbed.open();
    let secret = Numbers(2).bytes(64);
    let created = put(&store, "a", &secret).await;
    store.checkpoint().await.unwrap();
    assert_eq!(testbed.files_with(&secret), ["keystead.db"], "the control: it is in the file");
    store.commit(Batch::default().delete("a", created)).await.unwrap();
    store.checkpoint().await.unwrap();
    assert_eq!(testbed.files_with(&secret), [""; 0]);
}

/// Fills, grows and empties pages in an order in which SQLite once leaves a copy of a record in the unused part of a page.
/// Answers what was deleted or replaced, step by step; the step `erasing` asks for erasure.
async fn churn(store: &SqliteStore, erasing: Option<usize>) -> Vec<Vec<u8>> {
    let mut numbers = Numbers(3 * 7919);
    let mut live: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut dead = Vec::new();
    for _ in 0..1500 {
        let name = format!("material/{:04}", numbers.below(400));
        let len = [40, 990, 300][numbers.below(3)];
        let batch = if numbers.below(3) > 0 {
            let secret = numbers.bytes(len);
            dead.extend(live.insert(name.clone(), secret.clone()));
            Batch::default().put(name, secret)
        } else if let Some(secret) = live.remove(&name) {
            dead.push(secret);
            let revision = store.get(&name).await.unwrap().unwrap().revision;
            Batch::default().delete(name, revision)
        } else {
            continue;
        };
        let erase = erasing.is_some_and(|victim| dead.len() == victim + 1);
        store.commit(Batch { erase, ..batch }).await.unwrap();
        if erase {
            erased(store).await;
        }
    }
    store.checkpoint().await.unwrap();
    dead
}

/// Which of these are in a file, be it in part.
fn left(testbed: &Testbed, secrets: &[Vec<u8>]) -> BTreeSet<usize> {
    let pieces: HashMap<&[u8], usize> = secrets
        .iter()
        .enumerate()
        .flat_map(|(number, secret)| secret.rchunks_exact(16).map(move |piece| (piece, number)))
        .collect();
    let files = std::fs::read_dir(testbed.data()).unwrap();
    let files: Vec<Vec<u8>> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    // Most places do not even begin as one of them.
    let begin =
        |bytes: &[u8]| usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
    let mut begins = vec![false; 1 << 24];
    pieces.keys().for_each(|piece| begins[begin(piece)] = true);
    let windows = files.iter().flat_map(|file| file.windows(16)).filter(|window| begins[begin(window)]);
    windows.filter_map(|window| pieces.get(window).copied()).collect()
}

#[tokio::test]
async fn p9_copies_that_sqlite_left_in_unused_parts_of_pages_are_erased() {
    let plain = Testbed::new();
    let secrets = churn(&plain.open(), None).await;
    let victims = left(&plain, &secrets);
    let victim = *victims.first().expect("the control: secure_delete and a checkpoint leave something");

    let erasing = Testbed::new();
    let store = erasing.open();
    assert_eq!(churn(&store, Some(victim)).await, secrets, "the same once more");
    assert!(!left(&erasing, &secrets).contains(&victim), "it is not left when it was erased");
}

/// Waits until the store says that nothing is left.
pub(crate) async fn erased(store: &SqliteStore) {
    erased_in(store, || true).await;
}

/// The same where the store may not have begun.
async fn erased_in(store: &SqliteStore, gone: impl Fn() -> bool) {
    let begun = Instant::now();
    while store.is_erasing() || !gone() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is never erased");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Commits a secret, has an outside reader need it, and asks for its erasure, which cannot be.
async fn blocked_erasure(testbed: &Testbed) -> (SqliteStore, rusqlite::Connection, Vec<u8>) {
    let store = testbed.open();
    let secret = Numbers(11).bytes(64);
    let created = put(&store, "material/a", &secret).await;
    let reader = rusqlite::Connection::open(testbed.path()).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    reader.query_row("SELECT count(*) FROM record", [], |row| row.get::<_, i64>(0)).unwrap();

    // It is a success, whoever reads.
    store.commit(Batch::default().delete("material/a", created).erasing()).await.unwrap();
    for _ in 0..5 {
        put(&store, "other", b"goes on").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.is_erasing());
    assert_eq!(value(&store, "material/a").await, None, "it is written");
    assert!(!testbed.files_with(&secret).is_empty(), "the control: it is still there");
    (store, reader, secret)
}

#[tokio::test]
async fn an_erasure_that_a_reader_holds_up_is_finished_by_itself() {
    let testbed = Testbed::new();
    let (store, reader, secret) = blocked_erasure(&testbed).await;
    reader.execute_batch("COMMIT").unwrap();
    erased(&store).await;
    assert_eq!(testbed.files_with(&secret), [""; 0]);
}

#[tokio::test]
async fn an_open_erasure_survives_a_restart() {
    let testbed = Testbed::new();
    let (store, reader, secret) = blocked_erasure(&testbed).await;
    let restarted = Testbed::new();
    testbed.copy_to(&restarted);
    assert!(!restarted.files_with(&secret).is_empty(), "the control: a crash does not erase");
    let again = restarted.open();
    erased_in(&again, || restarted.files_with(&secret).is_empty()).await;
    drop((store, reader, again));
}

#[tokio::test]
async fn a_store_that_is_closed_erases_first() {
    let mut testbed = Testbed::new();
    testbed.settings.erase_delay = Duration::from_secs(3600);
    let store = testbed.open();
    let secret = Numbers(12).bytes(64);
    let created = put(&store, "material/a", &secret).await;
    store.commit(Batch::default().delete("material/a", created).erasing()).await.unwrap();
    assert!(store.is_erasing());
    drop(store);
    assert_eq!(testbed.files_with(&secret), [""; 0]);
    assert!(!testbed.open().is_erasing());
}

/// What is destroyed together is erased together, and everything else goes on meanwhile.
#[tokio::test]
async fn p9_many_erasures_are_one() {
    let testbed = Testbed::new();
    let store = testbed.open();
    let mut numbers = Numbers(13);
    let secrets: Vec<Vec<u8>> = (0..300).map(|_| numbers.bytes(120)).collect();
    let mut revisions = Vec::new();
    for (number, secret) in secrets.iter().enumerate() {
        revisions.push(put(&store, &format!("material/{number}"), secret).await);
    }
    for (number, revision) in revisions.into_iter().enumerate() {
        store
            .commit(Batch::default().delete(format!("material/{number}"), revision).erasing())
            .await
            .unwrap();
        put(&store, "other", b"goes on").await;
    }
    erased(&store).await;
    assert!(left(&testbed, &secrets).is_empty());
}

/// Commits that split and join pages go on while the file is searched and overwritten, and afterwards: what was deleted before
/// is in no file when the store says so, and does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn p9_erasing_beside_commits_leaves_nothing_and_brings_nothing_back() {
    let testbed = Testbed::new();
    let store = testbed.open();
    let mut numbers = Numbers(17 * 7919);
    let mut live: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let (mut dead, mut residues) = (Vec::new(), 0);
    for round in 0..4 {
        for _ in 0..70 {
            dead.extend(change(&store, &mut numbers, &mut live, false).await);
        }
        store.checkpoint().await.unwrap();
        residues += left(&testbed, &dead).len();
        let before = dead.len();
        dead.extend(change(&store, &mut numbers, &mut live, true).await);
        let gone = dead.clone();
        // Not on its own: the erasure goes a step between any two of these.
        while store.is_erasing() {
            dead.extend(change(&store, &mut numbers, &mut live, false).await);
        }
        assert_eq!(left(&testbed, &gone), BTreeSet::new(), "round {round}, of {before}");
        for _ in 0..20 {
            dead.extend(change(&store, &mut numbers, &mut live, false).await);
        }
        store.checkpoint().await.unwrap();
        assert_eq!(left(&testbed, &gone), BTreeSet::new(), "round {round}, after more commits");
    }
    assert!(residues > 0, "the control: without erasing something is left ({residues})");
    for (name, secret) in &live {
        assert_eq!(value(&store, name).await.as_ref(), Some(secret));
    }
    drop(store);
    // Opening checks every page and every record.
    drop(testbed.open());
}

/// Writes or deletes some records at random, and answers what was replaced or deleted.
async fn change(
    store: &SqliteStore,
    numbers: &mut Numbers,
    live: &mut BTreeMap<String, Vec<u8>>,
    erase: bool,
) -> Vec<Vec<u8>> {
    let (mut batch, mut dead) = (Batch { erase, ..Batch::default() }, Vec::new());
    let mut names = BTreeSet::new();
    while names.len() < 8 {
        names.insert(format!("material/{:04}", numbers.below(600)));
    }
    for name in names {
        if numbers.below(3) == 0 && live.contains_key(&name) {
            dead.extend(live.remove(&name));
            batch.writes.push(Write { name, expect: Expect::Any, value: None });
        } else {
            let len = [40, 990, 300, 120, 5_000][numbers.below(5)];
            let secret = numbers.bytes(len);
            dead.extend(live.insert(name.clone(), secret.clone()));
            batch = batch.put(name, secret);
        }
    }
    store.commit(batch).await.unwrap();
    dead
}
