//! Disks that are full, fail or become read-only: a clear refusal, nothing lost or invented, and work again when it ends.
//!
//! Each test runs in a process of its own in which `faults.c` makes system calls fail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use keystead_model::ErrorClass;
use keystead_store::{Batch, Revision, Store};
use keystead_store_sqlite::SqliteStore;
use tokio::task::JoinSet;

use crate::testbed::{Numbers, Testbed, put, value};

const SWITCHES: &str = "KEYSTEAD_FAULT_SWITCHES";
pub(crate) const UNDER: &str = "KEYSTEAD_FAULT_UNDER";

/// Switches faults on and off.
struct Faults(PathBuf);

impl Faults {
    fn on(&self, fault: &str) {
        std::fs::write(self.0.join(fault), "").unwrap();
    }

    fn off(&self, fault: &str) {
        std::fs::remove_file(self.0.join(fault)).unwrap();
    }
}

/// In the first process: runs the same test in a second one, and answers nothing. In the second one: what it needs.
fn faults(test: &str) -> Option<(Testbed, Faults)> {
    if let Some(switches) = std::env::var_os(SWITCHES) {
        let testbed = Testbed::within(Path::new(&std::env::var_os(UNDER).unwrap()));
        return Some((testbed, Faults(switches.into())));
    }
    let folder = tempfile::tempdir().unwrap();
    let library = preloaded(folder.path());
    let (under, switches) = (folder.path().join("under"), folder.path().join("switches"));
    std::fs::create_dir(&under).unwrap();
    std::fs::create_dir(&switches).unwrap();
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("LD_PRELOAD", library)
        .env(SWITCHES, switches)
        .env(UNDER, under)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    None
}

/// The library that makes system calls fail, or writes them down.
pub(crate) fn preloaded(folder: &Path) -> PathBuf {
    let library = folder.join("faults.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults.c");
    let compiled = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .output()
        .expect("a C compiler, which SQLite needs too");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

/// A commit is refused in a way that a person understands.
async fn refused(store: &SqliteStore, name: &str, said: &str) {
    let error = store.commit(Batch::default().put(name, b"refused".to_vec())).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable, "{error}");
    let text = error.to_string();
    assert!(text.contains(said) && text.contains("keystead.db"), "{text}");
}

/// While commits fail with one fault: reads go on, and later everything does.
async fn refuses_and_recovers(testbed: &Testbed, faults: &Faults, fault: &str, said: &str) {
    let store = Arc::new(testbed.open());
    let mut expected = Vec::new();
    let mut last = Revision(0);
    for round in 0..3_u8 {
        last = put(&store, "kept", &[round]).await;
        faults.on(fault);
        for attempt in 0..3 {
            refused(&store, &format!("refused/{round}/{attempt}"), said).await;
            assert_eq!(value(&store, "kept").await.unwrap(), [round], "reads go on");
            assert_eq!(store.count("refused/").await.unwrap(), 0, "what was refused is not there");
            assert_eq!(store.commit_counter(), last);
        }
        let mut tasks = JoinSet::new();
        for task in 0..20 {
            let store = store.clone();
            tasks.spawn(async move {
                store.commit(Batch::default().put(format!("refused/{task}"), vec![])).await
            });
        }
        for result in tasks.join_all().await {
            assert_eq!(result.unwrap_err().class(), ErrorClass::Unavailable);
        }
        let error = store.writable().await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        faults.off(fault);
        store.writable().await.unwrap();
        let name = format!("after/{round}");
        assert_eq!(
            put(&store, &name, b"").await,
            Revision(last.0 + 1),
            "the next commit works, and is the next"
        );
        expected.push(name);
    }
    let store = Arc::into_inner(store).unwrap();
    drop(store);
    let store = testbed.open();
    let names: Vec<_> = store.list("", "", 100).await.unwrap().into_iter().map(|entry| entry.name).collect();
    expected.push("kept".to_owned());
    assert_eq!(names, expected);
    assert_eq!(store.commit_counter(), Revision(last.0 + 1));
}

#[tokio::test]
async fn p8_a_full_disk() {
    let Some((testbed, faults)) = faults("faults::p8_a_full_disk") else { return };
    refuses_and_recovers(&testbed, &faults, "full", "the disk is full").await;
}

#[tokio::test]
async fn p8_a_disk_that_runs_full_in_the_middle_of_a_write() {
    let Some((testbed, faults)) = faults("faults::p8_a_disk_that_runs_full_in_the_middle_of_a_write") else {
        return;
    };
    refuses_and_recovers(&testbed, &faults, "short", "the disk is full").await;
}

#[tokio::test]
async fn p8_a_failed_sync() {
    let Some((testbed, faults)) = faults("faults::p8_a_failed_sync") else { return };
    refuses_and_recovers(&testbed, &faults, "sync", "the disk failed").await;
}

#[tokio::test]
async fn p8_a_failed_write() {
    let Some((testbed, faults)) = faults("faults::p8_a_failed_write") else { return };
    refuses_and_recovers(&testbed, &faults, "write", "the disk failed").await;
}

#[tokio::test]
async fn p8_a_disk_that_becomes_read_only() {
    let Some((testbed, faults)) = faults("faults::p8_a_disk_that_becomes_read_only") else { return };
    refuses_and_recovers(&testbed, &faults, "read-only", "database").await;
}

/// What a failed commit left in the log must not come back at the next start, after readers saw that it is not there.
#[tokio::test]
async fn p8_a_commit_whose_sync_failed_stays_away() {
    let Some((testbed, faults)) = faults("faults::p8_a_commit_whose_sync_failed_stays_away") else { return };
    let store = testbed.open();
    put(&store, "kept", b"1").await;
    faults.on("sync");
    refused(&store, "refused", "the disk failed").await;
    faults.off("sync");
    let crashed = Testbed::new();
    testbed.copy_to(&crashed);
    assert_eq!(crashed.open().commit_counter(), Revision(2), "the control: it is whole in the log");

    // Whatever is asked for next empties the log first, although it writes nothing itself.
    let conflict = store.commit(Batch::default().create("kept", vec![])).await.unwrap_err();
    assert_eq!(conflict.class(), ErrorClass::AlreadyExists);
    let crashed = Testbed::new();
    testbed.copy_to(&crashed);
    let store = crashed.open();
    assert_eq!(value(&store, "refused").await, None);
    assert_eq!(store.commit_counter(), Revision(1));
}

#[tokio::test]
async fn p8_pages_that_cannot_be_read() {
    let Some((testbed, faults)) = faults("faults::p8_pages_that_cannot_be_read") else { return };
    let (store, mut numbers) = (testbed.open(), Numbers(9));
    let mut truth = Vec::new();
    // More than the caches of all readers hold.
    for record in 0..40 {
        let (name, bytes) = (format!("r{record}"), numbers.bytes(1_000_000));
        put(&store, &name, &bytes).await;
        truth.push((name, bytes));
    }
    store.checkpoint().await.unwrap();
    faults.on("read");
    let mut failed = 0;
    for (name, bytes) in &truth {
        match store.get(name).await {
            Ok(entry) => assert!(entry.unwrap().value == *bytes),
            Err(error) => {
                assert_eq!(error.class(), ErrorClass::Unavailable, "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 30, "the control: it was in no cache ({failed})");
    faults.off("read");
    for (name, bytes) in &truth {
        assert!(value(&store, name).await.unwrap() == *bytes);
    }
}

#[tokio::test]
async fn p8_an_erasure_that_finds_the_disk_full() {
    let Some((testbed, faults)) = faults("faults::p8_an_erasure_that_finds_the_disk_full") else {
        return;
    };
    let store = testbed.open();
    let secret = Numbers(4).bytes(64);
    let created = put(&store, "material/a", &secret).await;
    faults.on("full");
    let error = store.commit(Batch::default().delete("material/a", created).erasing()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    assert_eq!(value(&store, "material/a").await.as_ref(), Some(&secret));
    faults.off("full");
    store.commit(Batch::default().delete("material/a", created).erasing()).await.unwrap();
    crate::erase::erased(&store).await;
    assert_eq!(testbed.files_with(&secret), [""; 0]);
}

/// A full disk at the start says so, and a later start finds everything.
#[tokio::test]
async fn p8_a_start_on_a_bad_disk() {
    let Some((testbed, faults)) = faults("faults::p8_a_start_on_a_bad_disk") else { return };
    put(&testbed.open(), "kept", b"1").await;
    for fault in ["full", "write", "read-only", "read", "sync"] {
        faults.on(fault);
        if let Err(error) = SqliteStore::open(&testbed.path(), testbed.settings.clone()) {
            assert_eq!(error.class(), ErrorClass::Unavailable, "{fault}: {error}");
            assert!(error.to_string().contains(&testbed.data().display().to_string()), "{fault}: {error}");
        } else {
            // Nothing has to be synced to open what is clean.
            assert_eq!(fault, "sync");
        }
        faults.off(fault);
        assert_eq!(value(&testbed.open(), "kept").await.unwrap(), b"1", "{fault}");
    }
}
