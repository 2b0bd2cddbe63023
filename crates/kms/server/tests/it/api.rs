//! The APIs on a real key service: database, audit log and root key in a directory of its own.

mod authentication;
mod cloud_kms;
mod container;
mod coverage;
mod gone_callers;
mod grpc;
mod hostile_texts;
mod keystead;
mod kms_inventory;
mod policies;
mod projects;
mod refusals;
mod service_accounts;

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use keystead_audit::{AuditLog, AuditSettings};
use keystead_crypto::SystemRandom;
use keystead_keyservice::{KeyService, Location, Parts, RootDirectory, Settings, SystemClock};
use keystead_provider_local::{KeyFile, LocalProvider};
use keystead_server::Api;
use keystead_server::BackupFolder;
use keystead_server::pki::Pki;
use keystead_store::Store;
use keystead_store_sqlite::{SqliteSettings, SqliteStore};
use serde_json::{Value, json};
use tonic::body::Body;
use tower::ServiceExt;

const PROJECT: &str = "key-project";
const LOCATION: &str = "projects/key-project/locations/us-central1";
const RING: &str = "projects/key-project/locations/us-central1/keyRings/ring-1";
const KEY: &str = "projects/key-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1";

/// A server without a port.
pub(crate) struct Server {
    api: Api,
    /// The first administrator's token.
    admin: String,
    store: Arc<SqliteStore>,
    directory: tempfile::TempDir,
}

/// A status and a JSON body.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) json: Value,
}

impl Server {
    /// As on its first start.
    pub(crate) async fn new() -> Self {
        Self::on(|store| store).await
    }

    /// The same, with something put before the database.
    async fn on(before: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = |name: &str| directory.path().join(name);
        let root = RootDirectory::open(&path("root")).expect("root");
        let root_key = root.root_key_path();
        let file = KeyFile::generate("2026-01-01T00:00:00Z", &SystemRandom).expect("key");
        keystead_provider_local::create(&root_key, &file).expect("key file");
        let (sender, first_token) = std::sync::mpsc::channel();
        let location = |id: &str| Location {
            id: id.parse().expect("location"),
            display_name: id.to_owned(),
            zones: Vec::new(),
        };
        let store = SqliteStore::open(&path("store/records.db"), SqliteSettings::default()).expect("store");
        let store = Arc::new(store);
        let parts = Parts {
            store: before(Arc::<SqliteStore>::clone(&store)),
            audit: Arc::new(AuditLog::open(&path("audit"), AuditSettings::default()).expect("audit log")),
            root_key: Arc::new(LocalProvider::open(&root_key, Arc::new(SystemRandom)).expect("provider")),
            root,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            settings: Settings {
                locations: vec![location("global"), location("us-central1")],
                ..Default::default()
            },
            keep_admin_token: Box::new(move |token| {
                sender.send(token.expose().to_vec()).map_err(std::io::Error::other)
            }),
            new_admin_token: false,
            confirm_rollback: None,
        };
        let keyservice = KeyService::open(parts).await.expect("opens");
        let authority =
            Pki::open(directory.path(), vec!["localhost".to_owned()], jiff::Timestamp::now()).expect("pki");
        let admin = String::from_utf8(first_token.recv().expect("a first token")).expect("text");
        let backups = BackupFolder::new(Arc::clone(&store), path("backups"));
        std::fs::create_dir(path("backups")).expect("folder");
        let api = Api::new(keyservice).expect("routes");
        let api = api.with_authority(Arc::new(authority)).with_backups(Arc::new(backups));
        Self { api, admin, store, directory }
    }

    /// Every REST path that is known.
    pub(crate) fn gateway_routes(&self) -> impl Iterator<Item = &keystead_server::rest::RouteName> {
        self.api.gateway().routes()
    }

    /// With a project in which Cloud KMS is on.
    async fn with_project() -> Self {
        Self::new().await.and_project().await
    }

    async fn and_project(self) -> Self {
        let server = self;
        server.post("/v1/projects", json!({ "projectId": PROJECT, "name": "Keys" })).await.ok();
        server
            .post(&format!("/v1/projects/{PROJECT}/services/cloudkms.googleapis.com:enable"), json!({}))
            .await
            .ok();
        server
    }

    /// With a key that the administrator may use.
    pub(crate) async fn with_key() -> Self {
        Self::new().await.and_key().await
    }

    async fn and_key(self) -> Self {
        let server = self.and_project().await;
        server.post(&format!("/v1/{LOCATION}/keyRings?keyRingId=ring-1"), json!({})).await.ok();
        let body = json!({ "purpose": "ENCRYPT_DECRYPT" });
        server.post(&format!("/v1/{RING}/cryptoKeys?cryptoKeyId=key-1"), body).await.ok();
        server
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.call("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answered {
        self.call("POST", path, &body.to_string()).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answered {
        self.call("PATCH", path, &body.to_string()).await
    }

    /// As the administrator.
    async fn call(&self, method: &str, path: &str, body: &str) -> Answered {
        self.call_as(&self.admin, method, path, body).await
    }

    pub(crate) async fn call_as(&self, bearer: &str, method: &str, path: &str, body: &str) -> Answered {
        let request = Request::builder().method(method).uri(path).header("user-agent", "test/1");
        let request = request.header("authorization", format!("Bearer {bearer}"));
        self.send(request.body(Body::new(Full::from(body.to_owned()))).expect("request")).await
    }

    async fn send(&self, request: Request<Body>) -> Answered {
        let response = self.respond(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("body").to_bytes();
        Answered { status, json: serde_json::from_slice(&body).expect("JSON") }
    }

    pub(crate) async fn respond(&self, request: Request<Body>) -> Response<Body> {
        let Ok(response) = self.api.clone().oneshot(request).await;
        response
    }

    /// A bearer token of somebody.
    pub(crate) async fn token_of(&self, principal: &str) -> String {
        let made = self.post("/keystead/v1/tokens", json!({ "principal": principal })).await.ok();
        made["secret"].as_str().expect("secret").to_owned()
    }

    /// Binds roles of a resource, and nothing else there.
    pub(crate) async fn bind(&self, resource: &str, bindings: &[(&str, &str)]) {
        let bindings: Vec<Value> =
            bindings.iter().map(|(role, member)| json!({ "role": role, "members": [member] })).collect();
        let body = json!({ "policy": { "bindings": bindings } });
        self.post(&format!("/v1/{resource}:setIamPolicy"), body).await.ok();
    }

    /// The first administrator's token.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// All that the audit log holds.
    pub(crate) fn audit_text(&self) -> String {
        let files = std::fs::read_dir(self.directory.path().join("audit")).expect("audit log");
        let files = files.map(|entry| entry.expect("entry").path()).filter(|path| path.is_file());
        files.map(|file| String::from_utf8_lossy(&std::fs::read(file).expect("file")).into_owned()).collect()
    }
}

impl Answered {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.json);
        self.json
    }

    /// The error's status and message.
    #[track_caller]
    fn refused(&self, status: u16, name: &str) -> &str {
        let error = &self.json["error"];
        assert_eq!((self.status, error["status"].as_str()), (status, Some(name)), "{}", self.json);
        assert_eq!(error["code"], status);
        error["message"].as_str().expect("message")
    }

    /// The first detail of a type.
    fn detail(&self, kind: &str) -> &Value {
        let details = self.json["error"]["details"].as_array().expect("details");
        let kind = format!("type.googleapis.com/google.rpc.{kind}");
        details.iter().find(|detail| detail["@type"] == kind).expect("detail")
    }
}
