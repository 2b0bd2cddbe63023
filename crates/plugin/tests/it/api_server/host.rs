//! One control-plane host: a key file, a socket, and a plugin.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keystead_crypto::SystemRandom;
use keystead_plugin::{App, PartialSettings, Running};
use keystead_proto::kms_v2;
use keystead_proto::kms_v2::key_management_service_client::KeyManagementServiceClient;
use keystead_provider::switchable::Switchable;
use keystead_provider_local::LocalProvider;
use keystead_testkit::control_plane::EncryptionProvider;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::deadline::eventually;

/// Binary of this package.
pub(crate) const PLUGIN: &str = env!("CARGO_BIN_EXE_keystead-plugin");

/// Its plugin runs in this process once started. Dropping it removes its directory.
pub(crate) struct Host {
    running: Option<Running>,
    backend: Switchable,
    directory: TempDir,
}

impl Host {
    /// Makes a key file and a configuration with these lines besides the paths.
    pub(crate) fn new(settings: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let key_file = directory.path().join("key");
        run(&key_file, &["create"])?;
        Self::with_directory(directory, settings)
    }

    /// Another host of the same cluster, with the key file of `first`.
    pub(crate) fn join(first: &Self, settings: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::copy(first.key_file(), directory.path().join("key"))?;
        Self::with_directory(directory, settings)
    }

    fn with_directory(directory: TempDir, settings: &[&str]) -> Result<Self> {
        let path = directory.path();
        let mut text = format!("socket: {0}/kms.sock\nkeyFile: {0}/key\n", path.display());
        for line in settings {
            writeln!(text, "{line}")?;
        }
        if !text.contains("\nadmin:") {
            text.push_str("admin: 127.0.0.1:0\n");
        }
        std::fs::write(path.join("plugin.yaml"), text)?;
        let provider = LocalProvider::open(&path.join("key"), Arc::new(SystemRandom))?;
        Ok(Self { running: None, backend: Switchable::new(provider), directory })
    }

    /// Starts the plugin in this process; does not wait for its backend.
    pub(crate) async fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the plugin runs already");
        let settings = PartialSettings::read(&self.config()).and_then(PartialSettings::complete);
        let settings = settings.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        let app = App::build_with(settings, None, self.backend.clone(), Arc::new(SystemRandom)).await;
        let running = app.and_then(App::spawn).map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        self.running = Some(running);
        Ok(())
    }

    /// Starts it and waits until it encrypts.
    pub(crate) async fn start_ready(&mut self) -> Result<()> {
        self.start().await?;
        eventually("the plugin's Status is good", Duration::from_mins(1), async || {
            Ok(self.status().await.is_ok())
        })
        .await
    }

    /// Stops it gracefully.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let running = self.running.take().context("the plugin does not run")?;
        let drained = running.stop().await;
        ensure!(drained == keystead_runtime::Drained::Clean, "the plugin ended as {drained:?}");
        Ok(())
    }

    /// Everything that was unwrapped or wrapped goes through it.
    pub(crate) fn backend(&self) -> &Switchable {
        &self.backend
    }

    /// `key_id` of Status, asked over the socket.
    pub(crate) async fn key_id(&self) -> Result<String> {
        Ok(self.status().await?.key_id)
    }

    /// Status over the socket.
    pub(crate) async fn status(&self) -> Result<kms_v2::StatusResponse, Status> {
        Ok(self.client().status(kms_v2::StatusRequest {}).await?.into_inner())
    }

    /// A client of the socket, as kube-apiserver is one.
    pub(crate) fn client(&self) -> KeyManagementServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.socket().display()));
        KeyManagementServiceClient::new(endpoint.expect("a path is legal").connect_lazy())
    }

    /// How many calls of kube-apiserver the plugin answered, by its own metrics.
    pub(crate) async fn calls(&self, kms: &str, method: &str) -> Result<u64> {
        let admin = self.running.as_ref().and_then(Running::admin).context("no admin port")?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let text = http.get(format!("http://{admin}/metrics")).send().await?.text().await?;
        let name = format!("keystead_plugin_call_seconds_count{{kms=\"{kms}\",method=\"{method}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        Ok(line.with_context(|| format!("no {name}in\n{text}"))?.parse()?)
    }

    /// Waits until the plugin shows another key id than `old`; the new one.
    pub(crate) async fn key_id_after(&self, old: &str) -> Result<String> {
        eventually("the plugin shows a new key id", Duration::from_mins(1), async || {
            Ok(self.key_id().await? != old)
        })
        .await?;
        self.key_id().await
    }

    /// Runs `keystead-plugin key ...` on the key file; what it prints.
    pub(crate) fn key(&self, args: &[&str]) -> Result<String> {
        run(&self.key_file(), args)
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("plugin.yaml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("kms.sock")
    }

    /// Any other file of this host.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A KMS v2 entry that names this host's plugin.
    pub(crate) fn v2(&self, name: &str) -> EncryptionProvider {
        EncryptionProvider::KmsV2 { name: name.to_owned(), endpoint: self.endpoint(), timeout: None }
    }

    /// A KMS v1 entry that names this host's plugin.
    pub(crate) fn v1(&self, name: &str) -> EncryptionProvider {
        self.v1_with(name, true, None)
    }

    /// The same, with or without `apiVersion: v1` and `cachesize`.
    pub(crate) fn v1_with(
        &self,
        name: &str,
        explicit_version: bool,
        cache_size: Option<i32>,
    ) -> EncryptionProvider {
        let (name, endpoint) = (name.to_owned(), self.endpoint());
        EncryptionProvider::KmsV1 { name, endpoint, cache_size, timeout: None, explicit_version }
    }

    fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }
}

fn run(key_file: &std::path::Path, args: &[&str]) -> Result<String> {
    let output = Command::new(PLUGIN).arg("key").args(args).arg("--key-file").arg(key_file).output()?;
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "key {args:?}: {said}");
    Ok(printed.into_owned())
}
