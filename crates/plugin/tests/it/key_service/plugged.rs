//! A plugin in this process whose key is in the service.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use keystead_plugin::{App, PartialSettings, Running, Settings};
use keystead_proto::kms_v2::{DecryptRequest, EncryptRequest, StatusRequest};
use keystead_runtime::Drained;
use tempfile::TempDir;
use tonic::Status;

use super::service::{KEY, KeyService, Token};
use crate::plugin_process::{DEADLINE, get, v2};

/// Short, so that a test sees many.
pub(crate) const OFTEN: &str = "probeInterval: 300ms\n";
/// The same for what is in the cache; no setting, and 5 minutes in a plugin that is deployed.
const RECHECK: Duration = Duration::from_secs(1);

pub(crate) struct Plugged {
    running: Option<Running>,
    directory: TempDir,
}

pub(crate) struct Sealed {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) key_id: String,
}

impl Plugged {
    pub(crate) async fn start(service: &KeyService, tokens: &[&Token], more: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        write_private(&directory.path().join("credentials.json"), &service.credentials(tokens)?)?;
        let text = format!(
            "socket: {0}/kms.sock\nkmsKey: {KEY}\ncredentialsFile: {0}/credentials.json\nadmin: 127.0.0.1:0\n{more}",
            directory.path().display()
        );
        fs::write(directory.path().join("plugin.yaml"), text)?;
        let mut plugged = Self { running: None, directory };
        plugged.start_again().await?;
        Ok(plugged)
    }

    /// And waits until it encrypts.
    pub(crate) async fn ready(service: &KeyService, tokens: &[&Token], more: &str) -> Result<Self> {
        let plugged = Self::start(service, tokens, more).await?;
        plugged.until("Status is good", async || plugged.key_id().await.is_ok()).await?;
        Ok(plugged)
    }

    /// The same settings and files, nothing in memory.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        let config = self.directory.path().join("plugin.yaml");
        let settings = PartialSettings::read(&config).and_then(PartialSettings::complete);
        let app = match settings {
            Ok(settings) => {
                let settings = Settings { recheck_interval: RECHECK, ..settings };
                App::build(settings, None).await.and_then(App::spawn)
            }
            Err(failure) => Err(failure),
        };
        self.running = Some(app.map_err(|failure| anyhow!("{failure}"))?);
        Ok(())
    }

    pub(crate) async fn stop(&mut self) -> Result<()> {
        let running = self.running.take().context("the plugin does not run")?;
        ensure!(running.stop().await == Drained::Clean);
        Ok(())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("kms.sock")
    }

    pub(crate) fn replace_credentials(&self, text: &str) -> Result<()> {
        let (path, new) = (self.directory.path().join("credentials.json"), self.directory.path().join("new"));
        write_private(&new, text)?;
        Ok(fs::rename(new, path)?)
    }

    pub(crate) async fn key_id(&self) -> Result<String, Status> {
        Ok(v2(&self.socket()).await.status(StatusRequest {}).await?.into_inner().key_id)
    }

    pub(crate) async fn encrypt(&self) -> Result<Sealed, Status> {
        let request = EncryptRequest { plaintext: b"a seed".to_vec(), uid: "uid".to_owned() };
        let answer = v2(&self.socket()).await.encrypt(request).await?.into_inner();
        Ok(Sealed { ciphertext: answer.ciphertext, key_id: answer.key_id })
    }

    pub(crate) async fn decrypt(&self, sealed: &Sealed) -> Result<(), Status> {
        let request = DecryptRequest {
            ciphertext: sealed.ciphertext.clone(),
            key_id: sealed.key_id.clone(),
            uid: "uid".to_owned(),
            annotations: Default::default(),
        };
        let answer = v2(&self.socket()).await.decrypt(request).await?.into_inner();
        assert_eq!(answer.plaintext, b"a seed");
        Ok(())
    }

    pub(crate) fn readyz(&self) -> (u16, String) {
        get(self.running.as_ref().and_then(Running::admin).expect("an admin port"), "/readyz")
    }

    /// One value of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) =
            get(self.running.as_ref().and_then(Running::admin).expect("an admin port"), "/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name}:\n{text}")).parse().expect("a number")
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.directory.path().join("credentials.json")
    }

    /// How long it took until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) -> Result<Duration> {
        let start = Instant::now();
        while !holds().await {
            ensure!(start.elapsed() < DEADLINE, "{what} did not come: {:?}", self.readyz());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(start.elapsed())
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}
