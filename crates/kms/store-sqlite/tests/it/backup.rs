//! Copies, made while the store works, and stores made of them.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use keystead_model::ErrorClass;
use keystead_store::{Batch, Revision, Store};
use keystead_store_sqlite::{SqliteSettings, SqliteStore, verify_backup};
use tokio::task::JoinSet;

use crate::testbed::{Numbers, Testbed, contains, put, value};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_one_moment_of_a_busy_store() {
    let testbed = Testbed::new();
    let store = Arc::new(testbed.open());
    let mut tasks = JoinSet::new();
    for task in 0..4_u8 {
        let store = store.clone();
        tasks.spawn(async move {
            for round in 0..200_u32 {
                let value = round.to_be_bytes().to_vec();
                let batch = Batch::default()
                    .put(format!("left/{task}"), value.clone())
                    .put(format!("right/{task}"), value);
                store.commit(batch).await.unwrap();
            }
        });
    }
    for copy in 0..4 {
        // Begun somewhere in the middle of it.
        while store.commit_counter() < Revision(copy * 150) {
            tokio::task::yield_now().await;
        }
        let before = store.commit_counter();
        let target = testbed.beside(&format!("copy{copy}"));
        let revision = store.backup(&target).await.unwrap();
        assert!(revision >= before, "what was confirmed before is in it");
        assert_eq!(verify_backup(&target).unwrap(), revision);
        assert_eq!(target.metadata().unwrap().mode() & 0o777, 0o600);

        let restored = testbed.beside(&format!("restored{copy}")).join("keystead.db");
        assert_eq!(SqliteStore::restore(&target, &restored).unwrap(), revision);
        let restored = SqliteStore::open(&restored, SqliteSettings::default()).unwrap();
        assert_eq!(restored.commit_counter(), revision);
        let left = restored.list("left/", "", 10).await.unwrap();
        let right = restored.list("right/", "", 10).await.unwrap();
        let values = |entries: &[keystead_store::Entry]| -> Vec<_> {
            entries.iter().map(|entry| (entry.revision, entry.value.clone())).collect()
        };
        assert_eq!(values(&left), values(&right), "no half batch");
        assert_eq!(put(&restored, "on", b"it goes").await, Revision(revision.0 + 1));
    }
    tasks.join_all().await;
    let mut names: Vec<_> = std::fs::read_dir(testbed.beside(""))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("restored"))
        .collect();
    names.sort();
    assert_eq!(names, ["copy0", "copy1", "copy2", "copy3", "data"], "nothing else is left behind");
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let testbed = Testbed::new();
    let store = testbed.open();
    put(&store, "a", b"1").await;
    let backup = testbed.beside("backup");
    store.backup(&backup).await.unwrap();
    let before = std::fs::read(&backup).unwrap();
    put(&store, "a", b"2").await;
    assert_eq!(store.backup(&backup).await.unwrap_err().class(), ErrorClass::AlreadyExists);
    assert!(std::fs::read(&backup).unwrap() == before);
    let error = SqliteStore::restore(&backup, &testbed.path()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::AlreadyExists, "{error}");
    assert_eq!(value(&store, "a").await.unwrap(), b"2");
    drop(store);
    // The log of a lost database would be taken for that of the restored one.
    let elsewhere = testbed.data().join("other.db");
    std::fs::write(testbed.data().join("other.db-wal"), "old").unwrap();
    assert_eq!(SqliteStore::restore(&backup, &elsewhere).unwrap_err().class(), ErrorClass::AlreadyExists);
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn a_damaged_backup_is_refused_before_anything_is_made_of_it() {
    let testbed = Testbed::new();
    let store = testbed.open();
    let mut numbers = Numbers(7);
    for record in 0..200 {
        put(&store, &format!("r{record}"), &numbers.bytes(300)).await;
    }
    let backup = testbed.beside("backup");
    store.backup(&backup).await.unwrap();
    let whole = std::fs::read(&backup).unwrap();
    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 1;
    let target = testbed.beside("restored").join("keystead.db");
    for (what, bytes) in [
        ("a bit flipped", flipped),
        ("cut short", whole[..whole.len() - 4096].to_vec()),
        ("cut in a page", whole[..whole.len() - 100].to_vec()),
        ("empty", vec![]),
        ("text", b"not a database".repeat(500)),
    ] {
        let damaged = testbed.beside("damaged");
        std::fs::write(&damaged, bytes).unwrap();
        let error = verify_backup(&damaged).expect_err(what);
        assert!(matches!(error.class(), ErrorClass::Corrupt | ErrorClass::Misconfigured), "{what}: {error}");
        assert!(error.to_string().contains(&damaged.display().to_string()), "{what}: {error}");
        assert_eq!(SqliteStore::restore(&damaged, &target).unwrap_err(), error, "{what}");
        assert!(!target.exists(), "{what}");
    }
    assert!(verify_backup(&testbed.beside("none")).is_err());
}

#[tokio::test]
async fn what_was_deleted_is_in_no_later_backup() {
    let testbed = Testbed::new();
    let store = testbed.open();
    let secret = Numbers(3).bytes(64);
    let created = put(&store, "material/a", &secret).await;
    let before = testbed.beside("before");
    store.backup(&before).await.unwrap();
    assert!(contains(&std::fs::read(before).unwrap(), &secret), "the control: a backup holds what there is");
    store.commit(Batch::default().delete("material/a", created)).await.unwrap();
    assert!(!testbed.files_with(&secret).is_empty(), "the control: a plain delete leaves it in the log");
    let after = testbed.beside("after");
    store.backup(&after).await.unwrap();
    assert!(!contains(&std::fs::read(after).unwrap(), &secret));
}
