//! A stand-in for plugins that ask their key service for each Decrypt: Kubernetes' reference plugin, whose calls take as long as one of the
//! key service.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keystead_testkit::process::Process;
use tempfile::TempDir;
use tokio::net::UnixStream;

/// It starts within milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct WithoutCache {
    _plugin: Process,
    directory: TempDir,
}

impl WithoutCache {
    /// None where the program is not there.
    pub(crate) async fn start(delay: Duration) -> Result<Option<Self>> {
        let program = std::env::var_os("KEYSTEAD_GO_REFERENCE_PLUGIN").map(PathBuf::from);
        let Some(program) = program.filter(|it| it.is_file()) else { return Ok(None) };
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("kms.sock");
        let delay = format!("{}ms", delay.as_millis());
        let args = [
            "-kms".into(),
            "v1".into(),
            "-delay".into(),
            delay.into(),
            "-socket".into(),
            socket.clone().into(),
        ];
        let plugin = Process::spawn(&program, &args, &directory.path().join("plugin.log")).await?;
        let start = Instant::now();
        while UnixStream::connect(&socket).await.is_err() {
            ensure!(start.elapsed() < PATIENCE, "the reference plugin does not listen:\n{}", plugin.tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Some(Self { _plugin: plugin, directory }))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("kms.sock")
    }
}
