//! The plugin as a process of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use keystead_testkit::kms_client::KmsClient;
use keystead_testkit::process::Process;

/// A start takes milliseconds; a busy machine gets more.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running plugin. It ends with this value.
pub(super) struct PluginProcess {
    process: Process,
    socket: PathBuf,
    client: KmsClient,
}

impl PluginProcess {
    /// Starts this same program as plugin, with flags that say which key, and waits until it encrypts.
    pub(super) async fn start(directory: &Path, key: &[OsString]) -> Result<Self> {
        let socket = directory.join("kms.sock");
        let program = std::env::current_exe().context("cannot find this program")?;
        let args =
            ["plugin", "run", "--probe-interval", "1s", "--admin", "off", "--log-format", "json", "--socket"];
        let mut args: Vec<OsString> = args.map(OsString::from).to_vec();
        args.push(socket.clone().into());
        args.extend_from_slice(key);
        let process = Process::spawn(&program, &args, &directory.join("plugin.log")).await?;
        let mut plugin = Self { process, client: KmsClient::new(socket.clone()), socket };
        let ready = tokio::time::timeout(PATIENCE, plugin.until(|_| true)).await;
        if ready.is_err() {
            bail!("the plugin did not start; its log ends with: {}", plugin.process.tail());
        }
        Ok(plugin)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn client(&self) -> KmsClient {
        self.client.clone()
    }

    /// The key id of Status now.
    pub(super) async fn key_id(&self) -> Result<String> {
        self.client.key_id().await
    }

    /// Waits until Status shows another key id, and gives it.
    pub(super) async fn rotated_from(&mut self, old: &str) -> Result<String> {
        let new = tokio::time::timeout(PATIENCE, self.until(|key_id| key_id != old)).await;
        new.context("the plugin did not take up the new version")
    }

    async fn until(&mut self, accept: impl Fn(&str) -> bool) -> String {
        loop {
            match self.key_id().await {
                Ok(key_id) if accept(&key_id) => return key_id,
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}
