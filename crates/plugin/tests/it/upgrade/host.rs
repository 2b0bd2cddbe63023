//! The plugin of one control-plane host, as a process.

use std::ops::{Add, Sub};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keystead_testkit::control_plane::EncryptionProvider;
use keystead_testkit::process::Process;
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keystead-plugin");
/// A start takes milliseconds; test machines are busy.
const START: Duration = Duration::from_secs(60);

/// How Secrets are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// In plain, without any plugin: the limit.
    Identity,
    V1,
    V2,
}

/// A running plugin.
pub(crate) struct Plugin {
    _process: Process,
    http: reqwest::Client,
    admin: String,
    socket: PathBuf,
}

/// What a plugin was asked for, by its own metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) encrypts: u64,
    pub(crate) decrypts: u64,
    /// Decrypts for which it asked the backend of its key.
    pub(crate) misses: u64,
    /// Calls of kube-apiserver that were answered with an error.
    pub(crate) failures: u64,
}

impl Add for Calls {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            encrypts: self.encrypts + other.encrypts,
            decrypts: self.decrypts + other.decrypts,
            misses: self.misses + other.misses,
            failures: self.failures + other.failures,
        }
    }
}

impl Sub for Calls {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            encrypts: self.encrypts - before.encrypts,
            decrypts: self.decrypts - before.decrypts,
            misses: self.misses - before.misses,
            failures: self.failures - before.failures,
        }
    }
}

impl Plugin {
    /// Starts one in a new directory and waits until it encrypts.
    pub(crate) async fn start(directory: &Path, key_file: &Path) -> Result<Self> {
        std::fs::create_dir(directory)?;
        std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let (socket, log) = (directory.join("kms.sock"), directory.join("log"));
        let args = [
            "--admin=127.0.0.1:0".to_owned(),
            format!("--socket={}", socket.display()),
            format!("--key-file={}", key_file.display()),
        ];
        let process = Process::spawn(Path::new(PROGRAM), &args.map(Into::into), &log).await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let deadline = Instant::now() + START;
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(admin) = admin(&said)
                && http.get(format!("{admin}/readyz")).send().await.is_ok_and(|it| it.status().is_success())
            {
                return Ok(Self { _process: process, http, admin, socket });
            }
            ensure!(Instant::now() < deadline, "the plugin is not ready after {START:?}; its log:\n{said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn provider(&self, encryption: Encryption) -> EncryptionProvider {
        let (name, endpoint) = ("keystead".to_owned(), format!("unix://{}", self.socket.display()));
        match encryption {
            Encryption::Identity => EncryptionProvider::Identity,
            Encryption::V1 => EncryptionProvider::KmsV1 {
                name,
                endpoint,
                cache_size: None,
                timeout: None,
                explicit_version: true,
            },
            Encryption::V2 => EncryptionProvider::KmsV2 { name, endpoint, timeout: None },
        }
    }

    /// All calls since its start.
    pub(crate) async fn calls(&self) -> Result<Calls> {
        let text = self.http.get(format!("{}/metrics", self.admin)).send().await?.text().await?;
        let count = |name: &str, label: &str| {
            let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
            let numbers = lines.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
            numbers.sum::<Result<u64, _>>().with_context(|| format!("{name} in\n{text}"))
        };
        Ok(Calls {
            encrypts: count("keystead_plugin_call_seconds_count", "method=\"Encrypt\"")?,
            decrypts: count("keystead_plugin_call_seconds_count", "method=\"Decrypt\"")?,
            misses: count("keystead_plugin_unwrap_cache_lookups_total", "result=\"miss\"")?,
            failures: count("keystead_plugin_call_failures_total", "")?,
        })
    }
}

/// The key file that all hosts have.
pub(crate) async fn make_key(file: &Path) -> Result<()> {
    let made = tokio::process::Command::new(PROGRAM)
        .args(["key", "create", "--key-file"])
        .arg(file)
        .output()
        .await?;
    ensure!(made.status.success(), "key create: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// URL of the admin port, as the log says it.
fn admin(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("listening"))?;
    let (_, port) = line.split_once("127.0.0.1:")?;
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("http://127.0.0.1:{port}"))
}
