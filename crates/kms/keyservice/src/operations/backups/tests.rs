use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use keystead_crypto::{SecretBytes, sha256};
use keystead_model::{CryptoKeyName, CryptoKeyVersionName, VersionNumber, VersionState};
use keystead_provider_local::{Identity, Recipient, open_sealed, seal_to};
use keystead_store::{Batch, Expect, Store as _, Write};
use keystead_store_sqlite::SqliteStore;

use super::*;
use crate::fresh_server::{Files, FreshServer};
use crate::operations::{
    CreateCryptoKey, CreateCryptoKeyVersion, Decrypt, DeleteCryptoKeyVersion, DestroyCryptoKeyVersion,
    Encrypt, GetCryptoKey, GetCryptoKeyVersion, Inventory, RegisterInventory, UpdateCryptoKeyPrimaryVersion,
    UpdateCryptoKeyVersion,
};
use crate::records::record_name;
use crate::root::private_file;
use crate::testbed::TestClock;
use crate::{OpenError, RootDirectory, Settings};

struct Folder {
    path: PathBuf,
    store: Arc<SqliteStore>,
}

impl BackupStore for Folder {
    fn backup<'a>(&'a self, name: &'a str) -> PendingBackup<'a> {
        Box::pin(async move {
            let target = self.path.join(name);
            let revision = self.store.backup(&target).await?.0;
            let bytes = fs::read(&target).expect("read");
            Ok(BackupCopy { revision, size_bytes: bytes.len() as u64, sha256: sha256(&bytes) })
        })
    }
}

/// Makes a backup in `folder`, and answers the path of its file.
async fn back_up(server: &FreshServer, folder: &Path) -> (Backup, PathBuf) {
    let into = Arc::new(Folder { path: folder.to_owned(), store: server.files.store() });
    let backup = server.run_as(&server.admin().await, CreateBackup { into }).await.expect("a backup");
    let path = folder.join(&backup.name);
    (backup, path)
}

async fn create_key(server: &FreshServer, id: &str) -> CryptoKeyName {
    let name: CryptoKeyName = format!("projects/key-project/locations/global/keyRings/ring/cryptoKeys/{id}")
        .parse()
        .expect("a name");
    let command = CreateCryptoKey {
        name: name.clone(),
        labels: Default::default(),
        rotation_period_s: None,
        next_rotation_time: None,
        destroy_scheduled_duration_s: Some(24 * 3600),
        skip_initial_version: false,
    };
    server.run_as(&server.admin().await, command).await.expect("a key");
    name
}

/// C10: a new version that becomes the primary.
async fn rotate(server: &FreshServer, key: &CryptoKeyName) -> VersionNumber {
    let admin = server.admin().await;
    let made = server.run_as(&admin, CreateCryptoKeyVersion { key: key.clone() }).await.expect("a version");
    let version = made.name.version;
    let command = UpdateCryptoKeyPrimaryVersion { key: key.clone(), version };
    server.run_as(&admin, command).await.expect("the primary");
    version
}

async fn encrypt(server: &FreshServer, key: &CryptoKeyName, text: &str) -> Vec<u8> {
    let plaintext = SecretBytes::from(text.as_bytes().to_vec());
    let command = Encrypt { key: key.clone(), version: None, plaintext, caller_data: Vec::new() };
    server.run_as(&server.admin().await, command).await.expect("encrypted").ciphertext
}

async fn decrypt(server: &FreshServer, key: &CryptoKeyName, ciphertext: &[u8]) -> Result<String, KmsError> {
    let command = Decrypt {
        key: key.clone(),
        ciphertext: ciphertext.to_vec(),
        caller_data: Vec::new(),
        recheck: false,
    };
    let opened = server.run_as(&server.admin().await, command).await?.plaintext.into_exposed();
    Ok(String::from_utf8(opened).expect("text"))
}

/// The settings of a server that serves `global`.
fn settings(server: &FreshServer) -> Settings {
    server.files.settings.clone()
}

#[tokio::test]
async fn a_lost_machine_comes_back_from_a_backup_and_the_exported_root_key() {
    let server = FreshServer::new().await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    let old = encrypt(&server, &key, "under version 1").await;
    rotate(&server, &key).await;
    let new = encrypt(&server, &key, "under version 2").await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (backup, path) = back_up(&server, elsewhere.path()).await;
    assert_eq!(backup.sha256, hex::encode(sha256(&fs::read(&path).expect("read"))));
    let token = server.admin_token.clone();

    // The new machine says who it is; the old one seals the root key to it.
    let identity = Identity::generate().expect("an identity");
    let recipient: Recipient = identity.recipient().to_string().parse().expect("a line of text");
    let root_key = server.files.path("root").join("root-key");
    let exported =
        seal_to(&recipient, &keystead_provider_local::load(&root_key).expect("read")).expect("sealed");
    let root_key_text = fs::read_to_string(&root_key).expect("read");

    // The backup does not hold the root key, nor does what was exported show it.
    let secret = root_key_text.lines().max_by_key(|line| line.len()).expect("a line").to_owned();
    for bytes in [fs::read(&path).expect("read"), exported.clone().into_bytes()] {
        assert!(!String::from_utf8_lossy(&bytes).contains(secret.split(' ').next_back().expect("a word")));
    }
    let settings = settings(&server);
    let (clock, files) = server.close();
    drop(files);

    let files = Files::empty(settings);
    let root = RootDirectory::open(&files.path("root")).expect("opens");
    let opened = open_sealed(&identity, exported.as_bytes()).expect("opens");
    keystead_provider_local::store(&root.root_key_path(), opened).expect("written");
    drop(root);
    SqliteStore::restore(&path, &files.database()).expect("restored");
    let (service, first_token) = files.open(&clock).await.expect("opens");
    assert_eq!(first_token, None);
    let server = FreshServer { clock, service, admin_token: token, files };
    assert_eq!(decrypt(&server, &key, &old).await.expect("opens"), "under version 1");
    assert_eq!(decrypt(&server, &key, &new).await.expect("opens"), "under version 2");
    let read = server.run_as(&server.admin().await, GetCryptoKey { name: key }).await.expect("read");
    assert_eq!(read.primary.expect("a primary").name.version.get(), 2);
}

#[tokio::test]
async fn a_version_newer_than_the_backup_comes_back_from_a_destination() {
    let destination = tempfile::tempdir().expect("a directory");
    let settings =
        Settings { backup_destinations: vec![destination.path().to_owned()], ..Settings::default() };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    let (_, path) = back_up(&server, destination.path()).await;
    // After the backup: another version of the key, and another key.
    rotate(&server, &key).await;
    let late = encrypt(&server, &key, "late").await;
    let other = create_key(&server, "key-2").await;
    let later = encrypt(&server, &other, "later").await;
    // The emergency brake stays where it was pulled.
    rotate(&server, &key).await;
    let name = || format!("{key}/cryptoKeyVersions/3").parse().expect("a name");
    let disable = UpdateCryptoKeyVersion { name: name(), enabled: false };
    server.run_as(&server.admin().await, disable).await.expect("disabled");
    let token = server.admin_token.clone();
    let (clock, files) = server.close();
    let lost = Files::empty(files.settings.clone());
    drop(RootDirectory::open(&lost.path("root")).expect("opens"));
    fs::copy(files.path("root").join("root-key"), lost.path("root").join("root-key")).expect("copied");
    drop(files);
    SqliteStore::restore(&path, &lost.database()).expect("restored");

    let (service, _) = lost.open(&clock).await.expect("opens");
    let server = FreshServer { clock, service, admin_token: token, files: lost };
    assert_eq!(decrypt(&server, &key, &late).await.expect("opens"), "late");
    assert_eq!(decrypt(&server, &other, &later).await.expect("opens"), "later");
    assert!(server.audit_text().contains("RecoverCryptoKeyVersion"));
    let read =
        server.run_as(&server.admin().await, GetCryptoKeyVersion { name: name() }).await.expect("read");
    assert_eq!(read.state, VersionState::Disabled);
    // Numbers go on after the newest.
    assert_eq!(rotate(&server, &key).await.get(), 4);
}

#[tokio::test]
async fn a_version_is_not_made_while_a_destination_cannot_be_written() {
    let good = tempfile::tempdir().expect("a directory");
    let bad = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        backup_destinations: vec![good.path().to_owned(), bad.path().to_owned()],
        ..Settings::default()
    };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    // A file where the folder was: not even root can write into it.
    fs::rename(bad.path().join("versions"), bad.path().join("away")).expect("moved");
    fs::write(bad.path().join("versions"), "").expect("written");
    let command = CreateCryptoKeyVersion { key: key.clone() };
    let error = server.run_as(&server.admin().await, command).await.expect_err("one place is missing");
    assert_eq!(error.class(), ErrorClass::Unavailable);
    assert_eq!(server.service.store.count("version/").await.expect("counted"), 1);
    fs::remove_file(bad.path().join("versions")).expect("removed");
    fs::rename(bad.path().join("away"), bad.path().join("versions")).expect("moved");
    assert_eq!(rotate(&server, &key).await.get(), 2);
    // What the failed call left in the good place is gone.
    for place in [&good, &bad] {
        assert_eq!(kept_files(place.path()).len(), 2, "{:?}", kept_files(place.path()));
    }
}

#[tokio::test]
async fn a_destroyed_version_leaves_the_destinations_and_the_backups_that_hold_it_are_named() {
    let destination = tempfile::tempdir().expect("a directory");
    let settings =
        Settings { backup_destinations: vec![destination.path().to_owned()], ..Settings::default() };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let (before, _) = back_up(&server, destination.path()).await;
    server.clock.advance(Duration::from_secs(1));
    let key = create_key(&server, "key-1").await;
    let (holds, _) = back_up(&server, destination.path()).await;
    assert_eq!(kept_files(destination.path()).len(), 1);
    let name: CryptoKeyVersionName = format!("{key}/cryptoKeyVersions/1").parse().expect("a name");
    server.run_as(&server.admin().await, DestroyCryptoKeyVersion { name }).await.expect("scheduled");
    server.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(server.service.tick().await.destroyed, 1);
    assert_eq!(kept_files(destination.path()), Vec::<PathBuf>::new());
    let audit = server.audit_text();
    let record = audit.lines().find(|line| line.contains("backupsThatHoldIt")).expect("a record");
    assert!(record.contains(&holds.name) && !record.contains(&before.name), "{record}");
}

#[tokio::test]
async fn a_backup_whose_caller_goes_away_is_recorded_and_known() {
    let server = FreshServer::new().await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let admin = server.admin().await;
    let mut polls = 1;
    loop {
        let into = Arc::new(Folder { path: elsewhere.path().to_owned(), store: server.files.store() });
        let mut asked = Box::pin(server.run_as(&admin, CreateBackup { into }));
        let mut left = polls;
        let done = std::future::poll_fn(|context| {
            left -= 1;
            match asked.as_mut().poll(context) {
                Poll::Ready(made) => Poll::Ready(Some(made)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        let done = done.await;
        drop(asked);
        polls += 1;
        if let Some(made) = done {
            made.expect("made");
            break;
        }
    }
    assert!(polls > 2, "some callers have gone away");
    let known = async || server.service.store.count(record_name::BACKUPS).await.expect("counted");
    let files = || fs::read_dir(elsewhere.path()).expect("a directory").count();
    let recorded = || server.audit_text().matches("\"methodName\":\"CreateBackup\"").count();
    let begun = std::time::Instant::now();
    while (known().await as usize, recorded()) != (files(), files()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} {} {}", known().await, recorded(), files());
        tokio::task::yield_now().await;
    }
    assert!(files() > 0);
}

#[tokio::test]
async fn who_may_not_make_backups_makes_none() {
    let server = FreshServer::new().await;
    assert!(server.service.protection().is_none());
    let elsewhere = tempfile::tempdir().expect("a directory");
    let into = Arc::new(Folder { path: elsewhere.path().to_owned(), store: server.files.store() });
    let alice = server.somebody("user:alice@example.com").await;
    let error = server.run_as(&alice, CreateBackup { into }).await.expect_err("no right");
    assert_eq!(error.class(), ErrorClass::Denied);
    assert_eq!(fs::read_dir(elsewhere.path()).expect("a directory").count(), 0);
}

#[tokio::test]
async fn a_backup_that_is_put_back_beside_its_witness_is_a_rollback() {
    let server = FreshServer::new().await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (backup, path) = back_up(&server, elsewhere.path()).await;
    rotate(&server, &key).await;
    let admin_token = server.admin_token.clone();
    let (clock, mut files) = server.close();
    fs::remove_dir_all(files.path("store")).expect("removed");
    SqliteStore::restore(&path, &files.database()).expect("restored");
    let refused = files.open(&clock).await.map(drop).expect_err("it is older");
    let OpenError::Rollback(rollback) = refused else { panic!("{refused}") };
    assert_eq!(rollback.database, backup.revision);
    assert_eq!(rollback.missing.len(), 1);
    files.confirm_rollback = Some(backup.revision);
    let (service, _) = files.open(&clock).await.expect("confirmed");
    // It may have been used after the backup: only an inventory that is newer than the restore can say that it is not.
    let server = FreshServer { clock, service, admin_token, files };
    let admin = server.admin().await;
    let destroy =
        || DestroyCryptoKeyVersion { name: format!("{key}/cryptoKeyVersions/1").parse().expect("a name") };
    let refused = server.run_as(&admin, destroy()).await.expect_err("it may be in use").to_string();
    assert!(refused.contains("the database was restored at"), "{refused}");
    server.clock.advance(Duration::from_secs(1));
    let inventory =
        Inventory { source: "cluster".to_owned(), observe_time: server.clock.now(), counts: [].into() };
    server.run_as(&admin, RegisterInventory { key: key.clone(), inventory }).await.expect("registered");
    server.run_as(&admin, destroy()).await.expect("scheduled");
    let (clock, mut files) = server.close();
    // Confirmed once, the loss is not told again.
    files.confirm_rollback = None;
    files.open(&clock).await.expect("opens");
}

/// The server anew, with these destinations.
async fn reopen_with(server: FreshServer, destinations: &[&Path]) -> FreshServer {
    let admin_token = server.admin_token.clone();
    let (clock, mut files) = server.close();
    files.settings.backup_destinations = destinations.iter().map(|it| it.to_path_buf()).collect();
    let (service, _) = files.open(&clock).await.expect("opens");
    FreshServer { clock, service, admin_token, files }
}

/// What is wrong with the only destination, after a look at it.
async fn wrong(server: &FreshServer) -> Option<String> {
    server.service.look_at_destination(0).await;
    let protection = server.service.protection();
    assert_eq!((protection.destinations, protection.is_none()), (1, !protection.incomplete.is_empty()));
    protection.incomplete.into_iter().next()
}

fn version_name(key: &CryptoKeyName, number: u32) -> CryptoKeyVersionName {
    format!("{key}/cryptoKeyVersions/{number}").parse().expect("a name")
}

#[tokio::test]
async fn versions_older_than_a_destination_are_written_to_it_and_come_back() {
    let server = FreshServer::new().await;
    server.ring("key-project").await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (_, path) = back_up(&server, elsewhere.path()).await;
    let key = create_key(&server, "key-1").await;
    let old = encrypt(&server, &key, "old").await;
    rotate(&server, &key).await;
    let destroy = DestroyCryptoKeyVersion { name: version_name(&key, 2) };
    server.run_as(&server.admin().await, destroy).await.expect("scheduled");

    let destination = tempfile::tempdir().expect("a directory");
    let server = reopen_with(server, &[destination.path()]).await;
    assert!(server.service.protection().is_none(), "before it was compared");
    assert_eq!(kept_files(destination.path()), Vec::<PathBuf>::new());
    assert_eq!(wrong(&server).await, None);
    assert_eq!(kept_files(destination.path()).len(), 2);

    let token = server.admin_token.clone();
    let (clock, files) = server.close();
    let lost = Files::empty(files.settings.clone());
    drop(RootDirectory::open(&lost.path("root")).expect("opens"));
    fs::copy(files.path("root").join("root-key"), lost.path("root").join("root-key")).expect("copied");
    SqliteStore::restore(&path, &lost.database()).expect("restored");
    let (service, _) = lost.open(&clock).await.expect("opens");
    let server = FreshServer { clock, service, admin_token: token, files: lost };
    assert_eq!(decrypt(&server, &key, &old).await.expect("opens"), "old");
    let command = GetCryptoKeyVersion { name: version_name(&key, 2) };
    let read = server.run_as(&server.admin().await, command).await.expect("read");
    assert_eq!(read.state, VersionState::DestroyScheduled);
}

#[tokio::test]
async fn an_empty_directory_in_place_of_a_destination_is_told_and_what_was_missed_is_written_when_it_is_back()
{
    let places = tempfile::tempdir().expect("a directory");
    let (destination, away) = (places.path().join("destination"), places.path().join("away"));
    fs::create_dir(&destination).expect("made");
    let settings = Settings { backup_destinations: vec![destination.clone()], ..Settings::default() };
    let mut server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    rotate(&server, &key).await;
    rotate(&server, &key).await;
    assert_eq!(wrong(&server).await, None);
    assert_eq!(kept_files(&destination).len(), 3);

    // The directory is not there, or an empty one is, or one in which somebody has made the folder.
    fs::rename(&destination, &away).expect("moved");
    for (directories, said) in [
        (&[][..], "is not there"),
        (&[""], "has no file keystead-destination"),
        (&["versions"], "has no file"),
    ] {
        directories.iter().for_each(|it| fs::create_dir(destination.join(it)).expect("made"));
        let told = wrong(&server).await.expect("told");
        assert!(told.contains(said) && told.contains(destination.to_str().expect("text")), "{told}");
        let command = CreateCryptoKeyVersion { key: key.clone() };
        let refused =
            server.run_as(&server.admin().await, command).await.expect_err("it would be unprotected");
        assert_eq!(refused.class(), ErrorClass::Unavailable);
        // A start goes on, takes it for no new destination, and leaves it empty.
        server = server.reopen().await;
        assert!(wrong(&server).await.expect("told").contains(said));
    }
    assert_eq!(kept_files(&destination), Vec::<PathBuf>::new());

    // Meanwhile one version is disabled, and another one ends.
    let admin = server.admin().await;
    let disable = UpdateCryptoKeyVersion { name: version_name(&key, 2), enabled: false };
    server.run_as(&admin, disable).await.expect("disabled");
    let destroy = DestroyCryptoKeyVersion { name: version_name(&key, 1) };
    server.run_as(&admin, destroy).await.expect("scheduled");
    server.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(server.service.tick().await.destroyed, 1);

    fs::remove_dir_all(&destination).expect("removed");
    fs::rename(&away, &destination).expect("moved back");
    assert_eq!(kept_files(&destination).len(), 3);
    assert_eq!(wrong(&server).await, None);
    let files = kept_files(&destination);
    assert_eq!(files.len(), 2, "{files:?}");
    let disabled = |it: &PathBuf| fs::read_to_string(it).expect("read").contains("\"DISABLED\"");
    assert_eq!(files.iter().filter(|it| disabled(it)).count(), 1);
    assert_eq!(rotate(&server, &key).await.get(), 4);
}

#[tokio::test]
async fn a_destination_is_begun_anew_by_its_marker_and_another_servers_is_refused() {
    let (destination, other) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = FreshServer::new().await;
    server.ring("key-project").await;
    create_key(&server, "key-1").await;
    let server = reopen_with(server, &[destination.path()]).await;
    assert_eq!(wrong(&server).await, None);

    let marker = destination.path().join("keystead-destination");
    let line = fs::read_to_string(&marker).expect("a marker");
    fs::remove_dir_all(destination.path()).expect("removed");
    fs::create_dir(destination.path()).expect("made");
    let told = wrong(&server).await.expect("told");
    assert!(told.contains(line.trim()), "it says what to write: {told}");
    fs::write(&marker, &line).expect("written");
    assert_eq!(wrong(&server).await, None);
    assert_eq!(kept_files(destination.path()).len(), 1);

    // Of another server: told while this one runs, and refused where it would be a new destination.
    drop(
        FreshServer::with(Settings {
            backup_destinations: vec![other.path().to_owned()],
            ..Settings::default()
        })
        .await,
    );
    fs::copy(other.path().join("keystead-destination"), &marker).expect("copied");
    let server = server.reopen().await;
    assert!(wrong(&server).await.expect("told").contains("belongs to another server"));
    assert_eq!(kept_files(destination.path()).len(), 1);
    let (clock, mut files) = server.close();
    files.settings.backup_destinations = vec![other.path().to_owned()];
    let refused = files.open(&clock).await.map(drop).expect_err("not ours");
    assert!(matches!(refused, OpenError::Destination(_)), "{refused}");
    files.settings.backup_destinations = vec![other.path().join("nowhere")];
    let refused = files.open(&clock).await.map(drop).expect_err("not there");
    assert!(refused.to_string().contains("make or mount it first"), "{refused}");
}

#[tokio::test]
async fn nothing_is_restored_while_a_destination_that_was_used_is_away() {
    let places = tempfile::tempdir().expect("a directory");
    let (destination, away) = (places.path().join("destination"), places.path().join("away"));
    fs::create_dir(&destination).expect("made");
    let settings = Settings { backup_destinations: vec![destination.clone()], ..Settings::default() };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let (_, path) = back_up(&server, places.path()).await;
    let key = create_key(&server, "key-1").await;
    let late = encrypt(&server, &key, "late").await;
    let token = server.admin_token.clone();
    let (clock, files) = server.close();
    let lost = Files::empty(files.settings.clone());
    drop(RootDirectory::open(&lost.path("root")).expect("opens"));
    fs::copy(files.path("root").join("root-key"), lost.path("root").join("root-key")).expect("copied");
    SqliteStore::restore(&path, &lost.database()).expect("restored");
    fs::rename(&destination, &away).expect("moved");
    fs::create_dir(&destination).expect("made");
    let refused = lost.open(&clock).await.map(drop).expect_err("its versions would be lost");
    assert!(refused.to_string().contains("has no file keystead-destination"), "{refused}");
    fs::remove_dir(&destination).expect("removed");
    fs::rename(&away, &destination).expect("moved back");
    let (service, _) = lost.open(&clock).await.expect("opens");
    let server = FreshServer { clock, service, admin_token: token, files: lost };
    assert_eq!(decrypt(&server, &key, &late).await.expect("opens"), "late");
}

/// Another machine, which has a backup and the root key of `server`, and no witness.
fn elsewhere(server: FreshServer, backup: &Path) -> (Arc<TestClock>, String, Files) {
    let token = server.admin_token.clone();
    let (clock, files) = server.close();
    let lost = Files::empty(files.settings.clone());
    drop(RootDirectory::open(&lost.path("root")).expect("opens"));
    fs::copy(files.path("root").join("root-key"), lost.path("root").join("root-key")).expect("copied");
    SqliteStore::restore(backup, &lost.database()).expect("restored");
    (clock, token, lost)
}

#[tokio::test]
async fn what_was_deleted_or_is_damaged_does_not_come_back_and_keeps_nothing_else_away() {
    let (destination, backups) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let settings =
        Settings { backup_destinations: vec![destination.path().to_owned()], ..Settings::default() };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    rotate(&server, &key).await;
    let kept = kept_files(destination.path());
    let first = kept.iter().find(|it| it.to_string_lossy().contains("/0000000001-")).expect("kept").clone();
    let copy = fs::read(&first).expect("read");
    let admin = server.admin().await;
    let destroy = DestroyCryptoKeyVersion { name: version_name(&key, 1) };
    server.run_as(&admin, destroy).await.expect("scheduled");
    // What a process that was killed left of it, goes with it.
    let unfinished =
        first.with_file_name(format!(".keystead-Ab12Cd-{}", first.file_name().unwrap().to_str().unwrap()));
    fs::write(&unfinished, &copy).expect("written");
    server.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(server.service.tick().await.destroyed, 1);
    assert!(!unfinished.exists() && !first.exists());
    let delete = DeleteCryptoKeyVersion { name: version_name(&key, 1) };
    server.run_as(&admin, delete).await.expect("deleted");
    let (_, path) = back_up(&server, backups.path()).await;
    let (late, damaged) = (create_key(&server, "late").await, create_key(&server, "damaged").await);
    let sealed = encrypt(&server, &late, "late").await;

    // A place that was away when the version ended has it still, and one file is damaged.
    private_file::replace(&first, &copy).expect("written");
    for file in kept_files(destination.path()) {
        let text = fs::read_to_string(&file).expect("read");
        if text.contains("cryptoKeys/damaged/") {
            let mut kept: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            kept["material"] = "00".repeat(64).into();
            fs::write(&file, kept.to_string()).expect("written");
        }
    }
    let (clock, admin_token, files) = elsewhere(server, &path);
    let (service, _) = files.open(&clock).await.expect("opens");
    let server = FreshServer { clock, service, admin_token, files };
    assert_eq!(decrypt(&server, &late, &sealed).await.expect("opens"), "late");
    let admin = server.admin().await;
    for gone in [version_name(&key, 1), version_name(&damaged, 1)] {
        let read = server.run_as(&admin, GetCryptoKeyVersion { name: gone.clone() }).await;
        assert_eq!(read.err().map(|it| it.class()), Some(ErrorClass::NotFound), "{gone}");
    }
}

#[tokio::test]
async fn a_recovery_that_ended_in_the_middle_is_begun_again_although_there_is_a_witness() {
    let destination = tempfile::tempdir().expect("a directory");
    let settings =
        Settings { backup_destinations: vec![destination.path().to_owned()], ..Settings::default() };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    let sealed = encrypt(&server, &key, "text").await;
    // As if the process had ended before this key came back.
    server.service.note_restored(true).await.expect("noted");
    let version = version_name(&key, 1);
    let records = [
        record_name::key(&key),
        record_name::key_name(&key),
        record_name::version(&version),
        record_name::material(&version),
        record_name::usage(&version),
    ];
    let delete = |name| Write { name, expect: Expect::Any, value: None };
    let batch = Batch { writes: records.into_iter().map(delete).collect(), ..Batch::default() };
    server.files.store().commit(batch).await.expect("deleted");
    let server = server.reopen().await;
    assert_eq!(decrypt(&server, &key, &sealed).await.expect("opens"), "text");
    assert!(!server.service.recovery_is_unfinished().await.expect("read"));
}

#[tokio::test]
async fn a_destination_that_is_emptied_under_the_server_is_told_and_filled() {
    let destination = tempfile::tempdir().expect("a directory");
    let settings =
        Settings { backup_destinations: vec![destination.path().to_owned()], ..Settings::default() };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    create_key(&server, "key-1").await;
    assert_eq!(wrong(&server).await, None);
    fs::remove_dir_all(destination.path().join("versions")).expect("removed");
    assert!(wrong(&server).await.expect("told").contains("was emptied"));
    assert_eq!(wrong(&server).await, None);
    assert_eq!(kept_files(destination.path()).len(), 1);
}

#[tokio::test]
async fn a_version_that_no_place_may_lack_leaves_nothing_where_one_is_away() {
    let places = tempfile::tempdir().expect("a directory");
    let (here, away) = (places.path().join("here"), places.path().join("away"));
    fs::create_dir(&here).expect("made");
    fs::create_dir(&away).expect("made");
    let settings = Settings { backup_destinations: vec![here.clone(), away.clone()], ..Settings::default() };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    fs::rename(&away, places.path().join("elsewhere")).expect("moved");
    let command = CreateCryptoKeyVersion { key };
    let refused = server.run_as(&server.admin().await, command).await.expect_err("it would be lost there");
    assert_eq!(refused.class(), ErrorClass::Unavailable);
    assert_eq!(kept_files(&here).len(), 1);
}

fn kept_files(destination: &Path) -> Vec<PathBuf> {
    let keys = fs::read_dir(destination.join("versions")).expect("a directory");
    keys.flat_map(|key| {
        let files = fs::read_dir(key.expect("an entry").path()).expect("a directory");
        files.map(|file| file.expect("an entry").path()).collect::<Vec<_>>()
    })
    .collect()
}
