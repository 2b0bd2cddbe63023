//! Whose database it is, and who may have it open.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use keystead_model::ErrorClass;
use keystead_store::{Batch, Store, StoreError};
use keystead_store_sqlite::{SqliteSettings, SqliteStore};

use crate::testbed::{Testbed, make_folder, put, value};

fn refused(path: &Path) -> StoreError {
    match SqliteStore::open(path, SqliteSettings::default()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// The same is said without opening it, also while nobody has it.
fn refused_and_checked(path: &Path) -> StoreError {
    let error = refused(path);
    let checked = SqliteStore::check(path).expect_err("refused");
    assert_eq!((checked.class(), checked.to_string()), (error.class(), error.to_string()));
    error
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn everything_is_closed_to_others() {
    let testbed = Testbed::new();
    let store = testbed.open();
    put(&store, "a", b"1").await;
    assert_eq!(mode(&testbed.data()), 0o700);
    let mut names = Vec::new();
    for file in std::fs::read_dir(testbed.data()).unwrap() {
        let file = file.unwrap();
        assert_eq!(mode(&file.path()), 0o600, "{}", file.path().display());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["keystead.db", "keystead.db-shm", "keystead.db-wal", "keystead.db.lock"]);
}

#[tokio::test]
async fn modes_that_let_others_in_are_refused() {
    let testbed = Testbed::new();
    put(&testbed.open(), "a", b"1").await;
    for wide in [0o701, 0o710, 0o755, 0o770] {
        chmod(&testbed.data(), wide);
        let error = refused_and_checked(&testbed.path());
        assert_eq!(error.class(), ErrorClass::Misconfigured);
        assert!(error.to_string().contains(&format!("chmod 0700 {}", testbed.data().display())), "{error}");
    }
    chmod(&testbed.data(), 0o700);
    for wide in [0o604, 0o640, 0o644, 0o620] {
        chmod(&testbed.path(), wide);
        let error = refused_and_checked(&testbed.path());
        assert_eq!(error.class(), ErrorClass::Misconfigured);
        assert!(error.to_string().contains(&format!("chmod 0600 {}", testbed.path().display())), "{error}");
    }
    chmod(&testbed.path(), 0o600);
    let store = testbed.open();
    assert_eq!(value(&store, "a").await.unwrap(), b"1");
    SqliteStore::check(&testbed.path()).expect("good, and in use");
}

#[test]
#[ignore = "needs root"]
fn a_strangers_files_are_refused() {
    let testbed = Testbed::new();
    drop(testbed.open());
    for path in [testbed.path(), testbed.data()] {
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        let error = refused_and_checked(&testbed.path());
        assert_eq!(error.class(), ErrorClass::Misconfigured);
        assert!(error.to_string().contains("belongs to user 12345"), "{error}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
}

#[test]
fn a_link_or_a_folder_is_no_database() {
    let testbed = Testbed::new();
    drop(testbed.open());
    let link = testbed.data().join("link.db");
    symlink(testbed.path(), &link).unwrap();
    assert_eq!(refused(&link).class(), ErrorClass::Unavailable);
    let folder = testbed.data().join("folder.db");
    make_folder(&folder);
    assert_eq!(refused(&folder).class(), ErrorClass::Misconfigured);
    let nowhere = testbed.beside("no/such/folder/a.db");
    assert!(refused(&nowhere).to_string().contains("cannot create folder"));
}

#[tokio::test]
async fn two_stores_never_share_a_database() {
    let testbed = Testbed::new();
    let first = testbed.open();
    let error = refused(&testbed.path());
    assert_eq!(error.class(), ErrorClass::FailedPrecondition);
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    put(&first, "a", b"the first one goes on").await;
    drop(first);
    assert_eq!(value(&testbed.open(), "a").await.unwrap(), b"the first one goes on");
}

/// Another program that looks at the database does not stop the server, and two SQLite connections agree on who may write.
#[tokio::test]
async fn a_reader_from_outside_is_no_obstacle() {
    let testbed = Testbed::new();
    let store = testbed.open();
    put(&store, "a", b"1").await;
    let outside = rusqlite::Connection::open(testbed.path()).unwrap();
    outside.execute_batch("BEGIN; SELECT * FROM record").unwrap();
    put(&store, "a", b"2").await;
    outside.execute_batch("COMMIT; BEGIN IMMEDIATE").unwrap();
    let error =
        keystead_store::Store::commit(&store, keystead_store::Batch::default().put("a", vec![])).await;
    assert_eq!(error.unwrap_err().class(), ErrorClass::Unavailable, "locked by somebody else");
    outside.execute_batch("ROLLBACK").unwrap();
    put(&store, "a", b"3").await;
}

#[test]
fn foreign_and_newer_databases_are_refused_unchanged() {
    let testbed = Testbed::new();
    make_folder(&testbed.data());
    for (sql, said) in [
        ("CREATE TABLE theirs (a)", "another program"),
        ("PRAGMA user_version = 1", "another program"),
        ("PRAGMA application_id = 12", "another program"),
        (
            "PRAGMA application_id = 0x4b535453; PRAGMA user_version = 3; CREATE TABLE record (a)",
            "its format is 3, and this server knows 2",
        ),
    ] {
        let path = testbed.path();
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        chmod(&path, 0o600);
        let before = std::fs::read(&path).unwrap();
        let error = refused(&path);
        assert_eq!(error.class(), ErrorClass::Misconfigured, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(std::fs::read(&path).unwrap() == before, "it was changed");
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::write(testbed.path(), "this is a letter and no database\n".repeat(100)).unwrap();
    chmod(&testbed.path(), 0o600);
    let error = refused(&testbed.path());
    assert_eq!(error.class(), ErrorClass::Corrupt);
    assert!(error.to_string().contains(&testbed.path().display().to_string()), "{error}");
}

/// A crash while the database was made leaves an empty file, or one page that SQLite wrote to switch to its log.
#[tokio::test]
async fn a_half_made_database_is_made_again() {
    for sql in ["", "PRAGMA journal_mode = WAL"] {
        let testbed = Testbed::new();
        make_folder(&testbed.data());
        rusqlite::Connection::open(testbed.path()).unwrap().query_row(sql, [], |_| Ok(())).ok();
        chmod(&testbed.path(), 0o600);
        assert_eq!(put(&testbed.open(), "a", b"1").await.0, 1);
        assert_eq!(value(&testbed.open(), "a").await.unwrap(), b"1");
    }
}

/// Databases and backups of format 1 do not say how many records a folder has.
#[tokio::test]
async fn a_database_and_a_backup_of_an_earlier_server_are_taken() {
    let testbed = Testbed::new();
    let store = testbed.open();
    for name in ["a", "b/c", "b/d", "b/d/e", "b/f", "g/h/i"] {
        put(&store, name, b"1").await;
    }
    drop(store);
    let earlier = "DROP TABLE folder; PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE);";
    rusqlite::Connection::open(testbed.path()).unwrap().execute_batch(earlier).unwrap();
    let backup = testbed.beside("backup.db");
    std::fs::copy(testbed.path(), &backup).unwrap();
    let restored = Testbed::new();
    SqliteStore::restore(&backup, &restored.path()).unwrap();
    for testbed in [testbed, restored] {
        // Twice, so that what the first one counted is checked.
        for added in [0, 1] {
            let store = testbed.open();
            for (prefix, count) in [("", 6), ("b/", 4), ("b/d/", 1), ("g/", 1), ("c/", 0)] {
                let added = if prefix.is_empty() { added } else { 0 };
                assert_eq!(store.count(prefix).await.unwrap(), count + added, "{prefix:?}");
            }
            put(&store, "another", b"1").await;
        }
    }
}

/// Each of the files in turn is moved away, and another one put in its place: nothing is written, read goes on, and all is well when it
/// is back.
#[tokio::test]
async fn p8_nothing_is_written_to_files_that_were_removed_or_replaced() {
    let testbed = Testbed::new();
    let store = testbed.open();
    let written = put(&store, "kept", b"1").await;
    for name in ["keystead.db", "keystead.db-wal", "keystead.db-shm", "keystead.db.lock"] {
        let (path, away) = (testbed.data().join(name), testbed.beside("away"));
        std::fs::rename(&path, &away).unwrap();
        for what in ["removed", "replaced"] {
            let said = format!("{name} was {what}");
            let commit = store.commit(Batch::default().put("refused", b"2".to_vec())).await.map(drop);
            let backup = store.backup(&testbed.beside("backup")).await.map(drop);
            for refused in [commit, backup, store.writable().await] {
                let error = refused.unwrap_err();
                assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
                assert!(error.to_string().contains(&said), "{error}");
            }
            assert_eq!(value(&store, "kept").await.unwrap(), b"1", "reads go on");
            // Not a copy: closing any descriptor of the file would take the locks of SQLite away.
            std::fs::write(&path, "another").unwrap();
        }
        std::fs::rename(&away, &path).unwrap();
        store.writable().await.unwrap();
        assert_eq!(store.commit_counter(), written);
    }
    put(&store, "kept", b"3").await;
    drop(store);
    assert_eq!(value(&testbed.open(), "kept").await.unwrap(), b"3");
}
