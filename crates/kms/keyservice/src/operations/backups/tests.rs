mod destinations;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use keystead_crypto::{SecretBytes, SystemRandom, sha256};
use keystead_model::{CryptoKeyName, CryptoKeyVersionName, KeyUid, VersionNumber, VersionState};
use keystead_provider_local::{Identity, Recipient, open_sealed, seal_to};
use keystead_store_sqlite::SqliteStore;

use super::*;
use crate::fresh_server::{Files, FreshServer};
use crate::operations::{
    CreateCryptoKey, CreateCryptoKeyVersion, Decrypt, DeleteCryptoKeyVersion, DestroyCryptoKeyVersion,
    Encrypt, GetCryptoKey, GetCryptoKeyVersion, Inventory, RegisterInventory, UpdateCryptoKeyPrimaryVersion,
    UpdateCryptoKeyVersion,
};
use crate::root::private_file;
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

/// Another machine, which has a backup and the root key of a server, and no witness.
fn machine(of: &Files, backup: &Path) -> Files {
    let machine = Files::empty(of.settings.clone());
    drop(RootDirectory::open(&machine.path("root")).expect("opens"));
    fs::copy(of.path("root").join("root-key"), machine.path("root").join("root-key")).expect("copied");
    SqliteStore::restore(backup, &machine.database()).expect("restored");
    machine
}

/// The server on another machine, which has a backup of it.
async fn restored(server: FreshServer, backup: &Path) -> FreshServer {
    let admin_token = server.admin_token.clone();
    let (clock, files) = server.close();
    let files = machine(&files, backup);
    let (service, _) = files.open(&clock).await.expect("opens");
    FreshServer { clock, service, admin_token, files }
}

/// What something gives that is given up after so many polls; none: it was.
async fn polled<T>(asked: impl Future<Output = T>, polls: usize) -> Option<T> {
    let (mut asked, mut left) = (Box::pin(asked), polls);
    let done = std::future::poll_fn(|context| {
        left -= 1;
        match asked.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    done.await
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
async fn a_backup_whose_caller_goes_away_is_recorded_and_known() {
    let server = FreshServer::new().await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let admin = server.admin().await;
    let mut polls = 1;
    loop {
        let into = Arc::new(Folder { path: elsewhere.path().to_owned(), store: server.files.store() });
        let done = polled(server.run_as(&admin, CreateBackup { into }), polls).await;
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
