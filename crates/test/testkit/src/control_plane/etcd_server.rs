//! One etcd, without TLS, on a port of this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::files;
use super::port::Port;
use crate::process::Process;
use crate::ready;

/// It only has to close its files; test machines are busy.
const STOP: Duration = Duration::from_secs(30);

/// A running etcd.
#[derive(Debug)]
pub struct EtcdServer {
    process: Process,
    url: String,
    log: PathBuf,
    database: PathBuf,
    _ports: [Port; 2],
}

impl EtcdServer {
    pub(super) async fn start(
        program: &Path,
        directory: &Path,
        fsync: bool,
        more: &[String],
        patience: Duration,
    ) -> Result<Self> {
        files::create_directory(directory)?;
        let ports = [Port::reserve()?, Port::reserve()?];
        let [url, peer_url] = ports.each_ref().map(|port| format!("http://127.0.0.1:{}", port.number()));
        let mut args: Vec<_> = [
            format!("--data-dir={}", directory.join("data").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            "--socket-reuse-port=true".to_owned(),
        ]
        .map(Into::into)
        .into();
        if !fsync {
            args.push("--unsafe-no-fsync=true".into());
        }
        args.extend(more.iter().map(Into::into));
        let log = directory.join("etcd.log");
        let mut process = Process::spawn(program, &args, &log).await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        ready::wait("etcd", &mut process, patience, async || {
            let answer = http.get(format!("{url}/health")).send().await?.error_for_status()?;
            Ok(answer.text().await.map(|_| ())?)
        })
        .await?;
        let database = directory.join("data/member/snap/db");
        Ok(Self { process, url, log, database, _ports: ports })
    }

    /// URL for clients; plain HTTP, no credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it, so that all it took is in [`Self::database`].
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(STOP).await?;
        Ok(())
    }

    /// Its database file. While it runs the newest writes are only in its log.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it printed.
    pub fn log(&self) -> &Path {
        &self.log
    }
}
