//! Google's published clients tell their stories against a real server: each prints `ok STEP` for what held.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde_json::json;

const PROJECT: &str = "key-project";

/// What every story must show, whatever its language calls it.
const STEPS: usize = 11;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python clients"]
async fn python_client_over_rest_and_grpc_with_token_and_key_file() {
    let stage = Stage::new().await;
    for Telling { transport, credential, ring } in stage.tellings("python") {
        let mut command = Command::new(part("KEYSTEAD_PYTHON"));
        command
            .env("REQUESTS_CA_BUNDLE", stage.server.ca_file())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(source("tests/python/kms_story.py"))
            .args([transport, stage.authority()])
            .arg(stage.server.ca_file())
            .args([&credential, PROJECT, &ring]);
        tell(command, &ring).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python clients"]
async fn python_client_of_clusters_over_rest_and_grpc_with_token_and_key_file() {
    let stage = Stage::new().await;
    stage.enable_clusters().await;
    for Telling { transport, credential, ring } in stage.tellings("python") {
        let mut command = Command::new(part("KEYSTEAD_PYTHON"));
        command
            .env("REQUESTS_CA_BUNDLE", stage.server.ca_file())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(source("tests/python/container_story.py"))
            .args([transport, stage.authority()])
            .arg(stage.server.ca_file())
            .args([&credential, PROJECT, &ring]);
        tell(command, &ring).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node clients"]
async fn node_client_over_rest_and_grpc_with_token_and_key_file() {
    let stage = Stage::new().await;
    let (host, port) = stage.authority().split_once(':').unwrap();
    for Telling { transport, credential, ring } in stage.tellings("node") {
        let mut command = Command::new("node");
        command
            .env("NODE_PATH", part("KEYSTEAD_NODE_MODULES"))
            .env("NODE_EXTRA_CA_CERTS", stage.server.ca_file())
            .env("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", stage.server.ca_file())
            .arg(source("tests/node/kms_story.js"))
            .args([transport, host, port, &credential, PROJECT, &ring]);
        tell(command, &ring).await;
    }
}

/// Over gRPC this client signs `"aud":""` with its key file, which no other one does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs google-clients"]
async fn go_client_over_rest_and_grpc_with_token_and_key_file() {
    Stage::new().await.go_tells("keys").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs google-clients"]
async fn go_client_of_clusters_over_rest_and_grpc_with_token_and_key_file() {
    let stage = Stage::new().await;
    stage.enable_clusters().await;
    stage.go_tells("clusters").await;
}

/// One way in which a client tells its story.
struct Telling {
    /// `rest` or `grpc`.
    transport: &'static str,
    /// `token=FILE` or `key=FILE`.
    credential: String,
    /// The key ring that this story makes, which also names it.
    ring: String,
}

/// A server with a project, and an owner of the project with a token and a key file.
struct Stage {
    server: KmsServer,
    token: PathBuf,
    key: PathBuf,
    _directory: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_keystead-server"));
        let server = KmsServer::start(program, &directory.path().join("data")).await.unwrap();
        server.create_project(PROJECT).await.unwrap();
        let key = directory.path().join("key.json");
        let email =
            server.create_service_account(PROJECT, "story-teller", "roles/owner", &key).await.unwrap();
        let wanted = json!({"principal": format!("serviceAccount:{email}"), "ttl": "3600s"});
        let made = server.ok(Method::POST, "/keystead/v1/tokens", Some(&wanted)).await.unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, made["secret"].as_str().unwrap()).unwrap();
        Self { server, token, key, _directory: directory }
    }

    /// Every transport with every credential.
    fn tellings(&self, client: &'static str) -> impl Iterator<Item = Telling> {
        ["rest", "grpc"].into_iter().flat_map(move |transport| {
            [("token", &self.token), ("key", &self.key)].map(|(kind, path)| Telling {
                transport,
                credential: format!("{kind}={}", path.display()),
                ring: format!("{client}-{transport}-{kind}"),
            })
        })
    }

    async fn enable_clusters(&self) {
        let enable = format!("/v1/projects/{PROJECT}/services/container.googleapis.com:enable");
        self.server.ok(Method::POST, &enable, Some(&json!({}))).await.unwrap();
    }

    /// A story of `tests/go/google-clients`, in every way.
    async fn go_tells(&self, story: &str) {
        for Telling { transport, credential, ring } in self.tellings("go") {
            let mut command = Command::new(part("KEYSTEAD_GO_GOOGLE_CLIENTS"));
            command.env("SSL_CERT_FILE", self.server.ca_file()).args([
                story,
                transport,
                self.authority(),
                &credential,
                PROJECT,
                &ring,
            ]);
            tell(command, &ring).await;
        }
    }

    /// `host:port`.
    fn authority(&self) -> &str {
        self.server.endpoint().strip_prefix("https://").unwrap()
    }
}

async fn tell(mut command: Command, name: &str) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}:\n{told}{complaint}");
    let steps = told.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(steps >= STEPS, "{name} told only {steps} steps:\n{told}");
}

/// What `cargo xtask test` has installed.
fn part(variable: &str) -> std::ffi::OsString {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is set by `cargo xtask test`"))
}

fn source(path: impl AsRef<OsStr>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(Path::new(&path))
}
