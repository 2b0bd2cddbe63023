//! The files by which the server and the process that runs a local cluster understand each other: `crates/cluster/local-cluster`.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keystead_runtime::plain_environment;
use keystead_runtime::whole_file::{self, Readers};
use serde::{Deserialize, Serialize};

use super::LocalEndpoint;

/// Digits of a cluster's id in the name of its directory: paths of sockets are short.
const ID_DIGITS: usize = 16;
/// A join token counts for an hour.
const TOKEN_RENEWED_AFTER: Duration = Duration::from_secs(50 * 60);
/// Longest text that is read from the directory, in bytes: a certificate in it has some thousand.
const LONGEST: usize = 64 << 10;
/// The end of a log that is looked at, in bytes; of a line that is shown, in characters.
const LAST_WORDS: usize = 4096;
const MAX_WORDS: usize = 300;
/// A process writes few lines, but there is no end to how often it is started. In bytes.
const MAX_LOG: u64 = 4 << 20;
/// One local cluster's directory.
pub(super) struct ClusterDirectory {
    path: PathBuf,
}

/// `cluster.json`: what the process that runs it has to know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted<'w> {
    pub(super) cluster: String,
    pub(super) api_servers: u8,
    pub(super) programs: &'w Path,
    /// Where this server is, for agents and plugins.
    pub(super) server: &'w str,
}

/// `ready.json`: how its API server is reached.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ready {
    endpoint: String,
    authority_pem: String,
    version: String,
}

impl ClusterDirectory {
    pub(super) fn of(directory: &Path, id: &str) -> Self {
        Self { path: directory.join(id.get(..ID_DIGITS).unwrap_or(id)) }
    }

    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Writes what the cluster has to know. It may run already.
    pub(super) fn write(&self, wanted: &Wanted<'_>, authority_pem: Option<&str>) -> io::Result<()> {
        make_private(&self.path)?;
        let text = serde_json::to_vec(wanted).map_err(io::Error::other)?;
        replace(&self.path.join("cluster.json"), &text)?;
        match authority_pem {
            Some(pem) => replace(&self.path.join("server-ca.pem"), pem.as_bytes()),
            None => Ok(()),
        }
    }

    /// Whether a host that has not joined needs a token, because it has none that still counts for long.
    pub(super) fn needs_token(&self, node: &str) -> bool {
        let written = fs::metadata(self.token(node)).and_then(|it| it.modified());
        written.map_or(true, |it| it.elapsed().is_ok_and(|age| age >= TOKEN_RENEWED_AFTER))
    }

    pub(super) fn write_token(&self, node: &str, token: &[u8]) -> io::Result<()> {
        make_private(&self.path.join(node))?;
        replace(&self.token(node), token)
    }

    fn token(&self, node: &str) -> PathBuf {
        self.path.join(node).join("join-token")
    }

    /// How its API server is reached; none: it was not ready yet.
    pub(super) fn endpoint(&self) -> Option<LocalEndpoint> {
        let (text, _) = whole_file::read(&self.path.join("ready.json"), Readers::Everybody, LONGEST).ok()?;
        let Ready { endpoint, authority_pem, version } = serde_json::from_slice(&text).ok()?;
        Some(LocalEndpoint { endpoint, authority_pem, version: version.trim_start_matches('v').to_owned() })
    }

    /// Whether a process runs it.
    pub(super) fn is_running(&self) -> io::Result<bool> {
        let file = match File::open(self.path.join("lock")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// What its process said last.
    pub(super) fn last_words(&self) -> String {
        let path = self.path.join("log");
        let text = fs::read(&path).unwrap_or_default();
        let text =
            String::from_utf8_lossy(text.get(text.len().saturating_sub(LAST_WORDS)..).unwrap_or_default());
        let line = text.lines().rev().find(|it| !it.trim().is_empty() && !it.starts_with("hint:"));
        let line = line.unwrap_or("it said nothing").chars().filter(|it| !it.is_control());
        format!("{}; see {}", line.take(MAX_WORDS).collect::<String>(), path.display())
    }

    /// Whether somebody stopped it: `keystead local-clusters stop`.
    pub(super) fn is_stopped(&self) -> bool {
        self.path.join("stop").exists()
    }

    /// Starts the process that runs it, which lives on when this one ends.
    pub(super) fn start(&self, keystead: &Path) -> io::Result<Child> {
        match fs::remove_file(self.path.join("stop")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let log = File::options().create(true).append(true).open(self.path.join("log"))?;
        if log.metadata()?.len() > MAX_LOG {
            log.set_len(0)?;
        }
        Command::new(keystead)
            .args(["local-clusters", "run"])
            .arg(&self.path)
            .env_clear()
            .envs(plain_environment())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    /// Has what is left of it removed, by the process that runs it if there is one. Whether nothing is left.
    pub(super) fn remove(&self) -> io::Result<bool> {
        if !self.exists() {
            return Ok(true);
        }
        if self.is_running()? {
            File::create(self.path.join("delete"))?;
            return Ok(false);
        }
        fs::remove_dir_all(&self.path)?;
        Ok(true)
    }
}

/// For this user alone.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    whole_file::replace(path, bytes, Readers::Owner)
}
