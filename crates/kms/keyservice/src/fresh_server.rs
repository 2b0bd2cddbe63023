//! A key service as on its first start: all that it has is the first administrator's token.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use keystead_audit::{AuditLog, AuditSettings};
use keystead_crypto::SystemRandom;
use keystead_model::{KeyRingName, Principal, ProjectId};
use keystead_provider_local::LocalProvider;
use keystead_store_sqlite::{SqliteSettings, SqliteStore};
use tempfile::TempDir;

use crate::operations::{
    CreateKeyRing, CreateProject, CreateServiceAccount, CreateServiceAccountKey, CreateToken,
    GetServiceAccountKey, SwitchServices,
};
use crate::testbed::TestClock;
use crate::{
    Call, Clock, KeyService, KmsError, Location, OpenError, Operation, Origin, Parts, Presented,
    RootDirectory, ServiceApi, Settings, audit_clock,
};

/// When every test begins.
pub(crate) const START: &str = "2026-11-25T12:00:00Z";

/// A service in a directory of its own.
pub(crate) struct FreshServer {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) service: Arc<KeyService>,
    /// The first administrator's token.
    pub(crate) admin_token: String,
    pub(crate) files: Files,
}

/// Where a service keeps what.
pub(crate) struct Files {
    dir: TempDir,
    /// The store that is open now.
    store: Mutex<Weak<SqliteStore>>,
    pub(crate) settings: Settings,
    pub(crate) confirm_rollback: Option<u64>,
    pub(crate) new_admin_token: bool,
}

impl FreshServer {
    /// A new service.
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    /// A new service with settings; it serves `global` and `us-central1`, unless they name others.
    pub(crate) async fn with(settings: Settings) -> Self {
        let location = |id: &str| Location {
            id: id.parse().expect("a location"),
            display_name: id.to_owned(),
            zones: Vec::new(),
        };
        let files = Files {
            dir: tempfile::tempdir().expect("a directory"),
            store: Mutex::default(),
            settings: Settings {
                locations: if settings.locations.is_empty() {
                    vec![location("global"), location("us-central1")]
                } else {
                    settings.locations
                },
                token_uri: "https://kms.example:7443/token".to_owned(),
                ..settings
            },
            confirm_rollback: None,
            new_admin_token: false,
        };
        let clock = Arc::new(TestClock::at(START.parse().expect("a time")));
        let (service, first_token) = files.open(&clock).await.expect("opens");
        Self { clock, service, admin_token: first_token.expect("a first token"), files }
    }

    /// Ends the service and opens it again from what is on the disk.
    pub(crate) async fn reopen(self) -> Self {
        let Self { clock, service, admin_token, files } = self;
        close(service);
        let (service, first_token) = files.open(&clock).await.expect("opens again");
        assert_eq!(first_token, None, "this is not the first start");
        Self { clock, service, admin_token, files }
    }

    /// Ends the service, and leaves its files.
    pub(crate) fn close(self) -> (Arc<TestClock>, Files) {
        close(self.service);
        (self.clock, self.files)
    }

    pub(crate) async fn admin(&self) -> Call {
        self.bearer(&self.admin_token).await.expect("the administrator's token counts")
    }

    /// Has somebody do something, in a call of its own.
    pub(crate) async fn run_as<O: Operation>(&self, call: &Call, command: O) -> Result<O::Output, KmsError> {
        let call = self.service.call(Arc::clone(&call.caller), call.origin.clone())?;
        self.service.run(&call, command).await
    }

    pub(crate) async fn bearer(&self, bearer: &str) -> Result<Call, KmsError> {
        let presented = Presented { bearer: Some(bearer), ..Presented::default() };
        self.service.authenticate(presented, Origin::default()).await
    }

    /// Somebody with a token and no rights.
    pub(crate) async fn somebody(&self, principal: &str) -> Call {
        let token = self.token(principal, None).await;
        self.bearer(&token).await.expect("the token counts")
    }

    /// A token of a principal, as text.
    pub(crate) async fn token(&self, principal: &str, ttl: Option<SignedDuration>) -> String {
        let principal: Principal = principal.parse().expect("a principal");
        let command = CreateToken::new(&self.service, principal, String::new(), ttl).await.expect("an owner");
        let made = self.run_as(&self.admin().await, command).await.expect("a token");
        String::from_utf8(made.secret.into_exposed()).expect("text")
    }

    /// A project with Cloud KMS on.
    pub(crate) async fn project(&self, id: &str) -> ProjectId {
        let id: ProjectId = id.parse().expect("an id");
        let admin = self.admin().await;
        let command =
            CreateProject { id: id.clone(), display_name: String::new(), labels: Default::default() };
        self.run_as(&admin, command).await.expect("a project");
        let command = SwitchServices { project: id.clone(), apis: vec![ServiceApi::CloudKms], enable: true };
        self.run_as(&admin, command).await.expect("enabled");
        id
    }

    /// A service account with a key, in a new project.
    pub(crate) async fn key_file(&self, project: &str, account_id: &str) -> KeyFile {
        let project = self.project(project).await;
        let command = CreateServiceAccount {
            project,
            account_id: account_id.to_owned(),
            display_name: String::new(),
            description: String::new(),
        };
        let account = self.run_as(&self.admin().await, command).await.expect("an account");
        self.make_key(&account.email).await
    }

    /// Another key of the same account.
    pub(crate) async fn another_key(&self, file: &KeyFile) -> KeyFile {
        self.make_key(&file.client_email).await
    }

    async fn make_key(&self, email: &str) -> KeyFile {
        let name =
            self.service.account_name(&format!("projects/-/serviceAccounts/{email}")).await.expect("a name");
        let made = self.run_as(&self.admin().await, CreateServiceAccountKey::new(name)).await.expect("a key");
        serde_json::from_slice(made.file.expose()).expect("a key file")
    }

    /// The public half of a key, in DER.
    pub(crate) async fn public_key(&self, file: &KeyFile) -> Vec<u8> {
        let name = format!("projects/-/serviceAccounts/{}", file.client_email);
        let name = self.service.account_name(&name).await.expect("a name");
        let key_id = file.private_key_id.clone();
        let key =
            self.run_as(&self.admin().await, GetServiceAccountKey { name, key_id }).await.expect("a key");
        key.public_key_der()
    }

    /// A key ring `ring` in a new project.
    pub(crate) async fn ring(&self, project: &str) -> KeyRingName {
        let project = self.project(project).await;
        let name: KeyRingName =
            format!("projects/{project}/locations/global/keyRings/ring").parse().expect("a name");
        let command = CreateKeyRing { name: name.clone() };
        self.run_as(&self.admin().await, command).await.expect("a ring");
        name
    }

    /// All that the audit log holds, as text.
    pub(crate) fn audit_text(&self) -> String {
        self.files.audit_text()
    }
}

/// A key file, as clients read it.
#[derive(serde::Deserialize)]
pub(crate) struct KeyFile {
    pub(crate) r#type: String,
    pub(crate) project_id: String,
    pub(crate) private_key_id: String,
    pub(crate) private_key: String,
    pub(crate) client_email: String,
    pub(crate) token_uri: String,
}

impl KeyFile {
    /// Signs claims as clients do.
    pub(crate) fn sign(&self, claims: &serde_json::Value) -> String {
        self.sign_as(&self.private_key_id, claims)
    }

    /// The same under another key's id.
    pub(crate) fn sign_as(&self, key_id: &str, claims: &serde_json::Value) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = (!key_id.is_empty()).then(|| key_id.to_owned());
        encode(&header, claims, &self.encoding_key()).expect("signed")
    }

    pub(crate) fn encoding_key(&self) -> EncodingKey {
        EncodingKey::from_rsa_pem(self.private_key.as_bytes()).expect("a key")
    }
}

impl Files {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Opens a service on these files. The first administrator's token, if there was no service.
    pub(crate) async fn open(
        &self,
        clock: &Arc<TestClock>,
    ) -> Result<(Arc<KeyService>, Option<String>), OpenError> {
        // The feed of a service that was dropped holds its store until its task has ended.
        while self.store.lock().unwrap_or_else(PoisonError::into_inner).upgrade().is_some() {
            tokio::task::yield_now().await;
        }
        let root = RootDirectory::open(&self.path("root"))?;
        let root_key_path = root.root_key_path();
        if !root_key_path.exists() {
            let file = keystead_provider_local::KeyFile::generate(START, &SystemRandom).expect("a key file");
            keystead_provider_local::create(&root_key_path, &file).expect("written");
        }
        let store = Arc::new(SqliteStore::open(&self.database(), SqliteSettings::default())?);
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&store);
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(clock);
        let audit = AuditSettings { clock: audit_clock(&clock), ..AuditSettings::default() };
        let audit = AuditLog::open(&self.path("audit"), audit)?;
        let (sender, first_token) = std::sync::mpsc::channel();
        let service = KeyService::open(Parts {
            store,
            audit: Arc::new(audit),
            root_key: Arc::new(
                LocalProvider::open(&root_key_path, Arc::new(SystemRandom)).expect("a root key"),
            ),
            root,
            clock,
            random: Arc::new(SystemRandom),
            settings: self.settings.clone(),
            keep_admin_token: Box::new(move |token| {
                let text = String::from_utf8(token.expose().to_vec()).expect("text");
                sender.send(text).map_err(std::io::Error::other)
            }),
            new_admin_token: self.new_admin_token,
            confirm_rollback: self.confirm_rollback,
        })
        .await?;
        Ok((service, first_token.try_recv().ok()))
    }

    pub(crate) fn store(&self) -> Arc<SqliteStore> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        store.expect("the service is open")
    }

    /// The same files in another place, for a service beside the one that has these.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::empty(self.settings.clone());
        for name in ["root", "store", "audit"] {
            copy_directory(&self.path(name), &copy.path(name));
        }
        copy
    }

    /// Files as of a machine on which nothing was yet.
    pub(crate) fn empty(settings: Settings) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { dir, store: Mutex::default(), settings, confirm_rollback: None, new_admin_token: false }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("store").join("records.db")
    }

    pub(crate) fn audit_text(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.path("audit")).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|it| it == "jsonl") {
                let bytes = std::fs::read(path).expect("read");
                // The room that the log keeps for what comes next is zeros.
                text.push_str(String::from_utf8_lossy(&bytes).trim_end_matches('\0'));
            }
        }
        text
    }
}

/// Copies a directory with all that is in it.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_directory(&path, &target)
        } else {
            std::fs::copy(&path, target).expect("copied");
        }
    }
}

fn close(service: Arc<KeyService>) {
    // The last reference, so that the audit log and the database are closed when this returns.
    assert_eq!(Arc::strong_count(&service), 1, "somebody still holds the service");
    drop(service);
}
