//! The `keystead-plugin` program with its key in a real key service that is far away.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystead_proto::kms_v2::StatusRequest;
use keystead_proto::kms_v2::key_management_service_client::KeyManagementServiceClient;
use keystead_testkit::process::Process;
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Endpoint;

use crate::service::{KEY, KeyService};
use crate::slow_line::SlowLine;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keystead-plugin");
/// For a start, which takes some calls.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Ours {
    plugin: Process,
    directory: TempDir,
    _line: SlowLine,
    _service: KeyService,
}

/// What the plugin has counted.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    /// Calls of the API server.
    pub(crate) decrypts: u64,
    /// Of these, those that took a call to the key service.
    pub(crate) unwraps: u64,
}

impl Counted {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { decrypts: self.decrypts - before.decrypts, unwraps: self.unwraps - before.unwraps }
    }
}

impl Ours {
    pub(crate) async fn start(delay: Duration) -> Result<Self> {
        let service = KeyService::start().await?;
        let token = service.create_token().await?;
        let mut credentials: Value = serde_json::from_str(&service.credentials(&[&token])?)?;
        let line = SlowLine::to(service.endpoint(), delay).await?;
        // The certificate is of this name too.
        credentials["endpoint"] = format!("https://localhost:{}", line.port()).into();
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("credentials.json");
        fs::write(&file, credentials.to_string())?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let text = format!(
            "socket: {0}/kms.sock\nkmsKey: {KEY}\ncredentialsFile: {0}/credentials.json\nadmin: 127.0.0.1:0\n",
            directory.path().display()
        );
        fs::write(directory.path().join("plugin.yaml"), text)?;
        let plugin = spawn(&directory).await?;
        let ours = Self { plugin, directory, _line: line, _service: service };
        ours.ready().await?;
        Ok(ours)
    }

    /// The same settings, nothing in memory; waits until it encrypts, under a new wrapping key.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.plugin.stop(PATIENCE).await?;
        self.plugin = spawn(&self.directory).await?;
        self.ready().await
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("kms.sock")
    }

    /// By its own metrics.
    pub(crate) async fn counted(&self) -> Result<Counted> {
        let log = fs::read_to_string(log(&self.directory))?;
        // It logs its admin port when it starts.
        let (_, admin) = log.rsplit_once("127.0.0.1:").context("no admin port in the log")?;
        let port: String = admin.chars().take_while(char::is_ascii_digit).collect();
        let http = reqwest::Client::builder().no_proxy().build()?;
        let text = http.get(format!("http://127.0.0.1:{port}/metrics")).send().await?.text().await?;
        let value = |name: &str| -> Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("no {name} in\n{text}"))?.parse()?)
        };
        Ok(Counted {
            decrypts: value("keystead_plugin_call_seconds_count{kms=\"v1\",method=\"Decrypt\"}")?,
            unwraps: value("keystead_plugin_unwrap_cache_lookups_total{result=\"miss\"}")?,
        })
    }

    async fn ready(&self) -> Result<()> {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.socket().display()))?;
        let mut client = KeyManagementServiceClient::new(endpoint.connect_lazy());
        let start = Instant::now();
        while client.status(StatusRequest {}).await.is_err() {
            ensure!(
                start.elapsed() < PATIENCE,
                "the plugin does not encrypt after {PATIENCE:?}; its log:\n{}",
                self.plugin.tail()
            );
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

async fn spawn(directory: &TempDir) -> Result<Process> {
    let config = directory.path().join("plugin.yaml");
    Process::spawn(PROGRAM.as_ref(), &["--config".into(), config.into()], &log(directory)).await
}

fn log(directory: &TempDir) -> PathBuf {
    directory.path().join("plugin.log")
}
