use std::fs;

use keystead_crypto::SecretBytes;
use keystead_model::{Binding, CryptoKeyName, CryptoKeyVersionName, Policy, VersionState};

use super::*;
use crate::Resource;
use crate::fresh_server::{FreshServer, copy_directory};
use crate::operations::{
    CreateCryptoKey, CreateCryptoKeyVersion, Decrypt, DestroyCryptoKeyVersion, Encrypt, GetCryptoKeyVersion,
    GetIamPolicy, GetProject, Inventory, RegisterInventory, SetIamPolicy,
};
use crate::records::record_name;

const ADMIN: &str = "roles/keystead.admin";

async fn key(server: &FreshServer) -> CryptoKeyName {
    let ring = server.ring("key-project").await;
    let name: CryptoKeyName = format!("{ring}/cryptoKeys/key-1").parse().expect("a name");
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

async fn encrypt(server: &FreshServer, key: &CryptoKeyName) -> Vec<u8> {
    let plaintext = SecretBytes::from(b"the secret".to_vec());
    let command = Encrypt { key: key.clone(), version: None, plaintext, caller_data: Vec::new() };
    server.run_as(&server.admin().await, command).await.expect("encrypted").ciphertext
}

async fn decrypt(server: &FreshServer, key: &CryptoKeyName, ciphertext: &[u8]) -> Result<Vec<u8>, KmsError> {
    let command = Decrypt {
        key: key.clone(),
        ciphertext: ciphertext.to_vec(),
        caller_data: Vec::new(),
        recheck: false,
    };
    Ok(server.run_as(&server.admin().await, command).await?.plaintext.into_exposed())
}

#[tokio::test]
async fn what_was_encrypted_opens_after_a_restart() {
    let server = FreshServer::new().await;
    let key = key(&server).await;
    let ciphertext = encrypt(&server, &key).await;
    let server = server.reopen().await;
    assert_eq!(decrypt(&server, &key, &ciphertext).await.expect("opens"), b"the secret");
}

#[tokio::test]
async fn another_root_key_is_refused_by_name() {
    let server = FreshServer::new().await;
    let (clock, files) = server.close();
    fs::remove_file(files.path("root").join("root-key")).expect("removed");
    let refused = files.open(&clock).await.map(drop).expect_err("another root key");
    assert!(matches!(refused, OpenError::OtherRootKey { .. }), "{refused}");
}

#[tokio::test]
async fn after_a_rotation_of_the_root_key_its_old_version_can_go() {
    let server = FreshServer::new().await;
    let key = key(&server).await;
    let ciphertext = encrypt(&server, &key).await;
    let root_key = server.files.path("root").join("root-key");
    let rotate = |file: &mut keystead_provider_local::KeyFile| {
        let version = file.add("2026-11-25T12:00:00Z", &keystead_crypto::SystemRandom)?;
        file.promote(version)
    };
    keystead_provider_local::edit(&root_key, rotate).expect("rotated");
    let server = server.reopen().await;
    assert!(server.audit_text().contains("RewrapStoreKey"));
    keystead_provider_local::edit(&root_key, |file| file.remove(1)).expect("removed");
    let server = server.reopen().await.reopen().await;
    assert_eq!(decrypt(&server, &key, &ciphertext).await.expect("opens"), b"the secret");
    let text = server.audit_text();
    let records = text.lines().filter(|line| line.contains("RewrapStoreKey")).count();
    assert_eq!(records, 1, "once, not at every start");
}

#[tokio::test]
async fn a_token_that_cannot_be_written_down_makes_no_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = RootDirectory::open(&dir.path().join("root")).expect("opens");
    let file =
        keystead_provider_local::KeyFile::generate("2026-11-25T12:00:00Z", &keystead_crypto::SystemRandom);
    keystead_provider_local::create(&root.root_key_path(), &file.expect("a key")).expect("written");
    let random: Arc<dyn Random> = Arc::new(keystead_crypto::SystemRandom);
    let root_key = keystead_provider_local::LocalProvider::open(&root.root_key_path(), Arc::clone(&random));
    let database = dir.path().join("store").join("records.db");
    let store = keystead_store_sqlite::SqliteStore::open(&database, Default::default()).expect("opens");
    let store: Arc<dyn Store> = Arc::new(store);
    let refused = KeyService::open(Parts {
        store: Arc::clone(&store),
        audit: Arc::new(AuditLog::open(&dir.path().join("audit"), Default::default()).expect("opens")),
        root_key: Arc::new(root_key.expect("a root key")),
        root,
        clock: Arc::new(crate::SystemClock),
        random,
        settings: Settings::default(),
        keep_admin_token: Box::new(|_| Err(io::Error::other("disk full"))),
        new_admin_token: true,
        confirm_rollback: None,
    })
    .await;
    assert!(matches!(refused.map(drop), Err(OpenError::AdminToken(_))));
    assert_eq!(store.count("").await.expect("counted"), 0, "nothing was written");
}

#[tokio::test]
async fn whoever_has_the_files_gets_another_token_of_an_administrator() {
    let server = FreshServer::new().await;
    server.project("key-project").await;
    // Somebody else administers the server, and has lost his token.
    let lost = server.admin().await;
    let binding = Binding {
        role: ADMIN.to_owned(),
        members: vec!["user:alice@example.com".to_owned()],
        condition: None,
    };
    let handed_over = SetIamPolicy {
        resource: Resource::Server,
        policy: Policy { version: 1, bindings: vec![binding] },
        etag: None,
        keep_bindings: false,
    };
    server.run_as(&lost, handed_over).await.expect("handed over");
    let (clock, mut files) = server.close();
    files.new_admin_token = true;
    let (service, token) = files.open(&clock).await.expect("opens");
    let admin_token = token.expect("another token");
    let server = FreshServer { clock, service, admin_token, files };
    let read = || GetIamPolicy { resource: Resource::Server, requested_version: 3 };
    let admin = server.admin().await;
    let policy = server.run_as(&admin, read()).await.expect("he administers").policy;
    let members: Vec<_> = policy.bindings.iter().flat_map(|it| &it.members).collect();
    assert_eq!(members, ["user:alice@example.com", "user:admin@keystead.local"], "nobody lost anything");
    let text = server.audit_text();
    let record = text.lines().find(|line| line.contains("NewAdminToken")).expect("a record");
    assert!(record.contains("roleGranted") && !record.contains(&server.admin_token), "{record}");

    // Once more: what is granted stays as it is, and each works for a day.
    let (clock, files) = server.close();
    let (service, token) = files.open(&clock).await.expect("opens");
    let server = FreshServer { clock, service, admin_token: token.expect("a third token"), files };
    let admin = server.admin().await;
    assert_eq!(server.run_as(&admin, read()).await.expect("he administers").policy, policy);
    server.clock.advance(std::time::Duration::from_secs(24 * 3600 + 1));
    server.bearer(&server.admin_token).await.map(drop).expect_err("a day is over");
}

#[tokio::test]
async fn what_was_committed_and_not_recorded_is_recorded_once() {
    let server = FreshServer::new().await;
    server.project("key-project").await;
    let text = server.audit_text();
    let (clock, files) = server.close();
    let created = text.lines().filter(|line| line.contains("CreateProject")).count();
    assert_eq!(created, 1);

    // The outbox still holds the last records of the process; none of them is appended again.
    let (service, _) = files.open(&clock).await.expect("opens");
    let left = service.store.list(record_name::OUTBOX, "", 10).await.expect("listed");
    assert!(!left.is_empty(), "the last commit's record is deleted by the next commit");
    let lines = files.audit_text().lines().count();
    assert_eq!(lines, text.lines().count());
    drop(service);

    // A log that lost its end, as if the process had died between commit and append.
    let segment = fs::read_dir(files.path("audit")).expect("a directory");
    let segment = segment
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .expect("a segment");
    let shorter: Vec<&str> = text.lines().take(lines - 1).collect();
    assert!(text.lines().last().is_some_and(|line| line.contains("EnableService")), "{text}");
    fs::write(&segment, shorter.join("\n") + "\n").expect("written");
    // The witness knows the record before it.
    let (service, _) = files.open(&clock).await.expect("opens");
    drop(service);
    let again = files.audit_text();
    assert_eq!(again.lines().filter(|line| line.contains("EnableService")).count(), 1);
    assert_eq!(again.lines().count(), lines);
}

#[tokio::test]
async fn a_rollback_names_both_commits_and_the_missing_versions_and_destroys_again() {
    let server = FreshServer::new().await;
    let key = key(&server).await;
    let first = encrypt(&server, &key).await;
    let token = server.admin_token.clone();
    let (clock, files) = server.close();
    copy_directory(&files.path("store"), &files.path("old-store"));

    // After the copy: a second version is made, and the first is destroyed.
    let (service, _) = files.open(&clock).await.expect("opens");
    let server = FreshServer { clock, service, admin_token: token.clone(), files };
    let admin = server.admin().await;
    let old_commit =
        server.service.store.changes(keystead_store::Revision(u64::MAX)).await.expect("known").up_to.0;
    server.run_as(&admin, CreateCryptoKeyVersion { key: key.clone() }).await.expect("a version");
    let version = |number: u32| -> CryptoKeyVersionName {
        format!("{key}/cryptoKeyVersions/{number}").parse().expect("a name")
    };
    server.clock.advance(std::time::Duration::from_secs(1));
    let observe_time = server.clock.now();
    let inventory = Inventory { source: "cluster".to_owned(), observe_time, counts: [].into() };
    server.run_as(&admin, RegisterInventory { key: key.clone(), inventory }).await.expect("registered");
    server.run_as(&admin, DestroyCryptoKeyVersion { name: version(1) }).await.expect("scheduled");
    server.clock.advance(std::time::Duration::from_secs(24 * 3600));
    assert_eq!(server.service.tick().await.destroyed, 1);
    let new_commit =
        server.service.store.changes(keystead_store::Revision(u64::MAX)).await.expect("known").up_to.0;
    let (clock, mut files) = server.close();

    fs::rename(files.path("store"), files.path("new-store")).expect("moved");
    copy_directory(&files.path("old-store"), &files.path("store"));
    let refused = files.open(&clock).await.map(drop).expect_err("it is older");
    let text = refused.to_string();
    let OpenError::Rollback(rollback) = refused else { panic!("{text}") };
    let wanted = Rollback { database: old_commit, witness: new_commit, missing: vec![version(2)] };
    assert_eq!(*rollback, wanted, "version 1 was destroyed, so it is not missing");
    assert!(text.contains(&version(2).to_string()) && text.contains(&new_commit.to_string()), "{text}");

    // Confirming another commit is no confirmation.
    files.confirm_rollback = Some(new_commit);
    assert!(matches!(files.open(&clock).await.map(drop), Err(OpenError::Rollback(_))));
    files.confirm_rollback = Some(old_commit);
    let (service, _) = files.open(&clock).await.expect("confirmed");
    let server = FreshServer { clock, service, admin_token: token, files };
    let admin = server.admin().await;
    let command = GetCryptoKeyVersion { name: version(1) };
    let destroyed = server.run_as(&admin, command).await.expect("its record stays");
    assert_eq!(destroyed.state, VersionState::Destroyed, "it must not come back");
    decrypt(&server, &key, &first).await.expect_err("its material is gone");
    assert_eq!(server.service.store.count("material/").await.expect("counted"), 0);
    assert!(server.audit_text().contains("DestroyAgain"));

    // The witness goes on from here: the next start needs no confirmation.
    let (clock, mut files) = server.close();
    files.confirm_rollback = None;
    let (service, _) = files.open(&clock).await.expect("opens");
    drop(service);
}

#[tokio::test]
async fn a_shortened_audit_log_is_noticed() {
    let server = FreshServer::new().await;
    server.project("key-project").await;
    server.project("other-project").await;
    let (clock, files) = server.close();
    fs::rename(files.path("audit"), files.path("old-audit")).expect("moved");
    let refused = files.open(&clock).await.map(drop).expect_err("the log is gone");
    assert!(matches!(refused, OpenError::AuditLog { .. }), "{refused}");
}

#[tokio::test]
async fn a_lost_root_directory_with_the_root_key_kept_opens_and_makes_a_witness() {
    let server = FreshServer::new().await;
    let key = key(&server).await;
    let ciphertext = encrypt(&server, &key).await;
    let token = server.admin_token.clone();
    let (clock, files) = server.close();
    for file in ["witness", "versions"] {
        fs::remove_file(files.path("root").join(file)).expect("removed");
    }
    let (service, _) = files.open(&clock).await.expect("opens");
    let server = FreshServer { clock, service, admin_token: token, files };
    assert_eq!(decrypt(&server, &key, &ciphertext).await.expect("opens"), b"the secret");
    let history = fs::read_to_string(server.files.path("root").join("versions")).expect("read");
    assert!(history.contains(&format!("{key}/cryptoKeyVersions/1")), "{history}");
    let project = GetProject { id: "key-project".parse().expect("an id") };
    server.run_as(&server.admin().await, project).await.expect("it is there");
}

#[tokio::test]
async fn a_witness_that_is_behind_learns_what_came_since_and_reads_no_more() {
    let server = FreshServer::new().await;
    let key = key(&server).await;
    let admin = server.admin().await;
    let token = server.admin_token.clone();
    let (clock, files) = server.close();
    copy_directory(&files.path("root"), &files.path("old-root"));
    let (service, _) = files.open(&clock).await.expect("opens");
    let server = FreshServer { clock, service, admin_token: token, files };
    server.run_as(&admin, CreateCryptoKeyVersion { key: key.clone() }).await.expect("a version");
    let (clock, files) = server.close();

    // As if the process had ended between the commit and its note.
    for file in ["witness", "versions"] {
        fs::copy(files.path("old-root").join(file), files.path("root").join(file)).expect("put back");
    }
    let history = || fs::read_to_string(files.path("root").join("versions")).expect("read");
    let second = format!("{key}/cryptoKeyVersions/2");
    assert!(!history().contains(&second), "the control: it is not noted");
    drop(files.open(&clock).await.expect("opens").0);
    assert!(history().contains(&second), "{}", history());
    // And what it knows now is enough for the next start.
    let noted = history();
    drop(files.open(&clock).await.expect("opens").0);
    assert_eq!(history(), noted);
}
