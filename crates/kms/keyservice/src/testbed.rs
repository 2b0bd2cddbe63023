//! A key service on a real database and a real audit log, in a directory of its own, on a clock that the test moves.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use keystead_audit::{AuditLog, AuditSettings};
use keystead_crypto::SystemRandom;
use keystead_model::{CryptoKeyName, CryptoKeyVersionName, KeyRingName, Policy, Principal, VersionNumber};
use keystead_provider_local::{KeyFile, LocalProvider, create};
use keystead_store::{Batch, Store};
use keystead_store_sqlite::{SqliteSettings, SqliteStore};

use crate::operations::{
    CreateCryptoKey, CreateKeyRing, CreateProject, Inventory, KeyAndPrimary, RegisterInventory,
};
use crate::records::service_api::ServiceState;
use crate::records::{encode, record_name};
use crate::{
    Call, Caller, Clock, Credential, KeyService, KmsError, Location, Operation, Origin, Parts, RootDirectory,
    Settings, audit_clock,
};

pub(crate) const PROJECT: &str = "key-project";
pub(crate) const LOCATION: &str = "projects/key-project/locations/us-central1";

/// A service, and the directory in which it lives.
pub(crate) struct Testbed {
    pub(crate) service: Arc<KeyService>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) directory: tempfile::TempDir,
}

/// A clock that stands still until it is moved.
pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn at(time: Timestamp) -> Self {
        Self(Mutex::new(time))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }

    pub(crate) fn set(&self, to: Timestamp) {
        *self.0.lock().unwrap() = to;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

impl Testbed {
    /// An owner of everything, a project whose KMS is on, and no key ring yet.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let random = SystemRandom;
        let file = KeyFile::generate("2026-01-01T00:00:00Z", &random).unwrap();
        let root = RootDirectory::open(&directory.path().join("root")).unwrap();
        create(&root.root_key_path(), &file).unwrap();
        drop(root);
        let clock = Arc::new(TestClock(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())));
        let service = open(directory.path(), &clock).await;
        let bed = Self { service, clock, directory };
        bed.grant("", "roles/owner", "user:owner@example.com").await;
        let record = record_name::service(&PROJECT.parse().unwrap(), "cloudkms.googleapis.com");
        let on = encode(&ServiceState { enabled: true }).unwrap();
        bed.service.ledger.commit(Batch::default().put(record, on), None).await.unwrap().complete().unwrap();
        bed
    }

    /// The project's own record.
    pub(crate) async fn project(&self) {
        self.grant("", "roles/resourcemanager.projectCreator", "user:owner@example.com").await;
        let id = PROJECT.parse().unwrap();
        self.run(CreateProject { id, display_name: String::new(), labels: Default::default() })
            .await
            .unwrap();
    }

    /// Ends the service and opens it again on the same files.
    pub(crate) async fn reopen(self) -> Self {
        self.reopen_on(|store| store).await
    }

    /// The same, with something put before the database.
    pub(crate) async fn reopen_on(self, before: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        let Self { service, clock, directory } = self;
        // From then on its feed holds the store only while it asks.
        assert!(service.ledger.all_is_read().await);
        drop(service);
        let service = open_on(directory.path(), &clock, before).await;
        Self { service, clock, directory }
    }

    /// Binds one role, whatever was bound there before.
    pub(crate) async fn grant(&self, holder: &str, role: &str, member: &str) {
        let stored = self.service.policy(holder).await.unwrap();
        let mut policy: Policy = stored.policy.clone();
        policy.version = 3;
        policy.bindings.push(keystead_model::Binding {
            role: role.to_owned(),
            members: vec![member.to_owned()],
            condition: None,
        });
        let batch = Batch::default().put(record_name::policy(holder), encode(&policy).unwrap());
        self.service.ledger.commit(batch, None).await.unwrap().complete().unwrap();
    }

    /// A call of somebody.
    pub(crate) fn call_of(&self, principal: &str) -> Call {
        let principal: Principal = principal.parse().unwrap();
        let caller =
            Caller { principal, groups: Vec::new(), credential: Credential::Token("test".to_owned()) };
        self.service.call(Arc::new(caller), Origin::default()).unwrap()
    }

    /// Has the owner do something.
    pub(crate) async fn run<O: Operation>(&self, command: O) -> Result<O::Output, KmsError> {
        self.service.run(&self.call_of("user:owner@example.com"), command).await
    }

    /// A cluster says, after every use so far, that it holds nothing under any version of `k`.
    pub(crate) async fn nothing_is_left(&self) {
        let now = self.clock.now();
        self.clock.advance(Duration::from_micros(1));
        let observe_time = self.clock.now();
        let inventory = Inventory { source: "cluster".to_owned(), observe_time, counts: [].into() };
        self.run(RegisterInventory { key: key_name(), inventory }).await.unwrap();
        self.clock.set(now);
    }

    /// A key `k` in a ring `r`.
    pub(crate) async fn key(&self) -> KeyAndPrimary {
        self.run(CreateKeyRing { name: ring() }).await.unwrap();
        self.run(create_key()).await.unwrap()
    }

    /// Every record of the audit log, one JSON text each.
    pub(crate) fn audit_records(&self) -> Vec<String> {
        let mut files: Vec<_> = std::fs::read_dir(self.directory.path().join("audit"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
            .collect();
        files.sort();
        let texts = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
        // The room that the log keeps for what comes next is zeros.
        texts
            .flat_map(|text| text.trim_end_matches('\0').lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
}

async fn open(directory: &Path, clock: &Arc<TestClock>) -> Arc<KeyService> {
    open_on(directory, clock, |store| store).await
}

async fn open_on(
    directory: &Path,
    clock: &Arc<TestClock>,
    before: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) -> Arc<KeyService> {
    let random = Arc::new(SystemRandom);
    let store_dir = directory.join("store");
    let root = RootDirectory::open(&directory.join("root")).unwrap();
    let root_key = LocalProvider::open(&root.root_key_path(), random.clone()).unwrap();
    let store = SqliteStore::open(&store_dir.join("keystead.db"), SqliteSettings::default()).unwrap();
    let clock: Arc<dyn Clock> = clock.clone();
    let audit = AuditSettings { clock: audit_clock(&clock), ..AuditSettings::default() };
    let audit = AuditLog::open(&directory.join("audit"), audit).unwrap();
    let location =
        Location { id: "us-central1".parse().unwrap(), display_name: "Iowa".to_owned(), zones: Vec::new() };
    let parts = Parts {
        store: before(Arc::new(store)),
        audit: Arc::new(audit),
        root_key: Arc::new(root_key),
        root,
        clock,
        random,
        settings: Settings { locations: vec![location], ..Settings::default() },
        keep_admin_token: Box::new(|_| Ok(())),
        new_admin_token: false,
        confirm_rollback: None,
    };
    KeyService::open(parts).await.unwrap()
}

pub(crate) fn ring() -> KeyRingName {
    format!("{LOCATION}/keyRings/r").parse().unwrap()
}

pub(crate) fn key_name() -> CryptoKeyName {
    format!("{LOCATION}/keyRings/r/cryptoKeys/k").parse().unwrap()
}

pub(crate) fn version_name(number: u32) -> CryptoKeyVersionName {
    CryptoKeyVersionName { key: key_name(), version: version(number) }
}

pub(crate) fn version(number: u32) -> VersionNumber {
    number.to_string().parse().unwrap()
}

pub(crate) fn create_key() -> CreateCryptoKey {
    CreateCryptoKey {
        name: key_name(),
        labels: Default::default(),
        rotation_period_s: None,
        next_rotation_time: None,
        destroy_scheduled_duration_s: None,
        skip_initial_version: false,
    }
}
