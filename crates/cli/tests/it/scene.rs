//! A real server in this process, and commands that find it by gcloud's variables, as after one `eval` for both.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use keystead_server::pki::ClientKey;
use keystead_server::{App, PartialSettings, Running};

use crate::{keystead, stderr};

/// Where the keys are.
pub(crate) const LOCATION: &str = "europe-west1";

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// A server, and a folder in which commands run.
pub(crate) struct Scene {
    server: Running,
    directory: tempfile::TempDir,
}

impl Scene {
    /// A server with two projects: one for gcloud and one for us.
    pub(crate) async fn new() -> Self {
        Self::with("{}").await
    }

    /// The same with a configuration file.
    pub(crate) async fn with(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("server.yaml");
        std::fs::write(&file, config).expect("writes");
        let given = PartialSettings::read(&file).expect("a configuration");
        let settings = PartialSettings::local(&directory.path().join("data")).or(given);
        let settings = settings.complete().expect("settings");
        let server = App::build(settings).await.expect("a server").spawn().expect("it starts");
        let scene = Self { server, directory };
        for project in ["of-gcloud", "of-keystead"] {
            scene.works(&format!("projects create {project}"));
            scene.works(&format!("services enable cloudkms.googleapis.com --project {project}"));
        }
        scene
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn endpoint(&self) -> &str {
        self.server.endpoint()
    }

    /// The authority of the server's certificate, in PEM.
    pub(crate) fn authority(&self) -> String {
        std::fs::read_to_string(self.server.data_dir().join("tls/ca.pem")).expect("an authority")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.server.token_file()
    }

    /// A certificate of the server's own authority, and its key, as files.
    pub(crate) fn client_certificate(&self, principal: &str) -> (PathBuf, PathBuf) {
        let uri = format!("keystead:{principal}");
        let now = jiff::Timestamp::now();
        let issued =
            self.server.pki().issue_client_certificate(ClientKey::New, &uri, HOUR, now).expect("issued");
        let (certificate, key) =
            (self.path().join("certificate.pem"), self.path().join("certificate-key.pem"));
        std::fs::write(&certificate, issued.certificate).expect("writes");
        std::fs::write(&key, issued.key.expect("a new key").as_bytes()).expect("writes");
        (certificate, key)
    }

    pub(crate) fn command(&self, mut command: Command, project: &str) -> Command {
        let address = self.server.address().expect("it listens");
        let endpoint = format!("https://localhost:{}/", address.port());
        for api in ["CLOUDKMS", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE", "IAM", "CONTAINER"] {
            command.env(format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"), &endpoint);
        }
        command
            .env("CLOUDSDK_CONFIG", self.path().join("gcloud"))
            .env("CLOUDSDK_CORE_PROJECT", project)
            .env("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", self.server.data_dir().join("tls/ca.pem"))
            .env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", self.token_file())
            .env("CLOUDSDK_PROXY_TYPE", "http")
            .env("CLOUDSDK_PROXY_ADDRESS", address.ip().to_string())
            .env("CLOUDSDK_PROXY_PORT", address.port().to_string())
            .env("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "1")
            .env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1")
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn keystead(&self, words: &str) -> Output {
        self.command(keystead(), "of-keystead").args(split(words)).output().expect("runs")
    }

    /// A key, and the right for the project's clusters to use it: its name.
    pub(crate) fn create_key(&self, id: &str) -> String {
        let place = format!("--keyring keys --location {LOCATION}");
        if !self.works(&format!("kms keyrings list --location {LOCATION}")).contains("keyRings/keys") {
            self.works(&format!("kms keyrings create keys --location {LOCATION}"));
        }
        self.works(&format!("kms keys create {id} --purpose encryption {place}"));
        let number = self.works("projects describe of-keystead --format value(projectNumber)");
        self.works(&format!(
            "kms keys add-iam-policy-binding {id} {place} --member serviceAccount:service-{}@container-engine-robot.iam.gserviceaccount.com \
             --role roles/cloudkms.cryptoKeyEncrypterDecrypter",
            number.trim()
        ));
        format!("projects/of-keystead/locations/{LOCATION}/keyRings/keys/cryptoKeys/{id}")
    }

    /// One command that must succeed: what it printed.
    pub(crate) fn works(&self, words: &str) -> String {
        let output = self.keystead(words);
        assert!(output.status.success(), "{words}: {}", stderr(&output));
        crate::stdout(&output)
    }
}

/// Words, with single quotes around what holds blanks.
pub(crate) fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().expect("never empty").push(letter),
        }
    }
    words.retain(|it| !it.is_empty());
    words
}
