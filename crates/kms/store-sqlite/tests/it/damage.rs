//! Bits that flipped: an error or the right bytes, never other bytes, never a panic.

use std::collections::BTreeMap;
use std::path::Path;

use keystead_model::ErrorClass;
use keystead_store::{Entry, Revision, Store, StoreError};
use keystead_store_sqlite::SqliteStore;

use crate::testbed::{Numbers, Testbed, put};

/// Six hundred in CI take some seconds.
fn trials() -> u64 {
    std::env::var("KEYSTEAD_DAMAGE_TRIALS").ok().and_then(|text| text.parse().ok()).unwrap_or(600)
}

async fn filled(testbed: &Testbed) -> BTreeMap<String, Entry> {
    let store = testbed.open();
    let mut numbers = Numbers(21);
    for record in 0..250_u32 {
        // Values within a page, and a few on pages of their own.
        let len = if record % 50 == 0 { 9_000 } else { 20 + record as usize };
        put(&store, &format!("key/{:08x}", record.wrapping_mul(2_654_435_761)), &numbers.bytes(len)).await;
    }
    for record in (0..250_u32).step_by(9) {
        let name = format!("key/{:08x}", record.wrapping_mul(2_654_435_761));
        let revision = store.get(&name).await.unwrap().unwrap().revision;
        store.commit(keystead_store::Batch::default().delete(name, revision)).await.unwrap();
    }
    store.list("", "", 1000).await.unwrap().into_iter().map(|entry| (entry.name.clone(), entry)).collect()
}

/// The class of an error is one that a person can act on.
fn is_honest(error: &StoreError, path: &Path) {
    assert!(
        matches!(error.class(), ErrorClass::Corrupt | ErrorClass::Misconfigured | ErrorClass::Unavailable),
        "{}: {error}",
        error.class().name()
    );
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_never_give_other_bytes() {
    let origin = Testbed::new();
    let truth = filled(&origin).await;
    let bytes = std::fs::read(origin.path()).unwrap();
    let (mut refused, mut harmless) = (0, 0);
    for trial in 0..trials() {
        let mut numbers = Numbers(0x9e37_79b9 + trial);
        let mut damaged = bytes.clone();
        let page = numbers.below(bytes.len() / 4096) * 4096;
        for _ in 0..=numbers.below(4) {
            damaged[page + numbers.below(4096)] ^= 1 << numbers.below(8);
        }
        let testbed = Testbed::new();
        origin.copy_to(&testbed);
        std::fs::write(testbed.path(), damaged).unwrap();
        let store = match SqliteStore::open(&testbed.path(), testbed.settings.clone()) {
            Ok(store) => store,
            Err(error) => {
                is_honest(&error, &testbed.path());
                refused += 1;
                continue;
            }
        };
        harmless += 1;
        for (name, entry) in &truth {
            match store.get(name).await {
                Ok(found) => assert_eq!(found.as_ref(), Some(entry), "trial {trial}"),
                Err(error) => is_honest(&error, &testbed.path()),
            }
        }
        match store.list("", "", 1000).await {
            Ok(found) => assert!(found.iter().eq(truth.values()), "trial {trial}"),
            Err(error) => is_honest(&error, &testbed.path()),
        }
        assert_eq!(store.count("key/").await, Ok(truth.len() as u64), "trial {trial}");
        assert_eq!(store.commit_counter(), Revision(278), "trial {trial}");
    }
    println!("{refused} refused at the start, {harmless} with the right answers");
    assert!(refused > trials() / 2, "the control: most bits matter ({refused})");
    assert!(harmless > 0, "the control: some bits do not");
}

/// Where the check runs beside the server, a damaged record is still not given out, and soon nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_database_is_checked_while_it_serves() {
    let mut testbed = Testbed::new();
    testbed.settings.checked_first = 0;
    let truth = filled(&testbed).await;
    let mut bytes = std::fs::read(testbed.path()).unwrap();
    let victim = truth.values().find(|entry| entry.value.len() > 200).unwrap();
    let position = memchr::memmem::find(&bytes, &victim.value[..64]).unwrap();
    bytes[position + 3] ^= 0x10;
    std::fs::write(testbed.path(), bytes).unwrap();
    let store = testbed.open();
    let error = store.get(&victim.name).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt);
    is_honest(&error, &testbed.path());
    let other = truth.keys().find(|name| **name != victim.name).unwrap();
    let begun = std::time::Instant::now();
    let error = loop {
        match store.get(other).await {
            Ok(_) => assert!(begun.elapsed().as_secs() < 30, "the check does not find it"),
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
    let error = store.commit(keystead_store::Batch::default().put("new", vec![])).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt, "and nothing is written any more");
}

/// The log has checksums of its own: a database without a part of its log is an older one, whole. That it is older, its
/// commit counter tells whoever remembers a later one.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_damaged_log_is_an_older_state_and_never_a_mixed_one() {
    let origin = Testbed::new();
    let store = origin.open();
    put(&store, "first", b"").await;
    store.checkpoint().await.unwrap();
    for commit in 2..=60_u64 {
        let batch = keystead_store::Batch::default()
            .put("newest", commit.to_be_bytes().to_vec())
            .put(format!("commit/{commit:03}"), Numbers(commit).bytes(200));
        store.commit(batch).await.unwrap();
    }
    let mut seen = std::collections::BTreeSet::new();
    for trial in 0..200_u64 {
        let testbed = Testbed::new();
        origin.copy_to(&testbed);
        let log = testbed.data().join("keystead.db-wal");
        let mut bytes = std::fs::read(&log).unwrap();
        let mut numbers = Numbers(77 + trial);
        let position = numbers.below(bytes.len());
        match trial % 3 {
            0 => bytes[position] ^= 1 << numbers.below(8),
            1 => bytes.truncate(position),
            _ => bytes[position..].fill(0),
        }
        std::fs::write(&log, bytes).unwrap();
        if trial == 0 {
            std::fs::remove_file(&log).unwrap();
        }
        let store = testbed.open();
        let newest = store.commit_counter().0;
        seen.insert(newest);
        let commits: Vec<String> =
            store.list("commit/", "", 100).await.unwrap().into_iter().map(|entry| entry.name).collect();
        let expected: Vec<String> = (2..=newest).map(|commit| format!("commit/{commit:03}")).collect();
        assert_eq!(commits, expected, "trial {trial}");
        let last = store.get("newest").await.unwrap().map(|entry| entry.value);
        assert_eq!(last, (newest > 1).then(|| newest.to_be_bytes().to_vec()), "trial {trial}");
    }
    assert!(seen.len() > 20, "the control: the damage was in many places ({seen:?})");
    assert!(seen.contains(&1), "without its log it is what was checkpointed");
}

/// The number of records is stored, too: a wrong one is damage, be it with a checksum of its own or without a row.
#[tokio::test]
async fn a_wrong_number_of_records_is_damage() {
    let origin = Testbed::new();
    filled(&origin).await;
    drop(origin.open());
    for change in [
        "UPDATE folder SET records = records + 1",
        "UPDATE folder SET name = CAST('kez/' AS BLOB)",
        "DELETE FROM folder",
        // More of them than there are, and all with what belongs to another one.
        "INSERT INTO folder SELECT CAST('other/' AS BLOB), records, checksum FROM folder",
        // A right number, and one record less.
        "DELETE FROM record WHERE name = (SELECT max(name) FROM record)",
    ] {
        let testbed = Testbed::new();
        origin.copy_to(&testbed);
        let connection = rusqlite::Connection::open(testbed.path()).unwrap();
        assert_eq!(connection.execute(change, []).unwrap(), 1, "{change}");
        drop(connection);
        let error = SqliteStore::open(&testbed.path(), testbed.settings.clone()).map(drop).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Corrupt, "{change}: {error}");
    }
}
