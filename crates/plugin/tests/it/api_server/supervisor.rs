//! What systemd does for a plugin with a socket unit: keeps the listening socket, and starts the program again at once.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::host::{Host, PLUGIN};

/// The plugin's own process, behind a socket that stays open over its restarts.
pub(crate) struct Supervisor {
    config: std::path::PathBuf,
    socket: UnixListener,
    child: Child,
}

/// From just before the signal until the process was gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) signalled: Instant,
    pub(crate) gone: Instant,
}

impl Supervisor {
    /// Listens and starts the plugin.
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let socket = UnixListener::bind(host.socket())?;
        let config = host.config();
        let child = spawn(&config, &socket)?;
        Ok(Self { config, socket, child })
    }

    /// Lets the plugin do nothing more until its next signal.
    pub(crate) fn freeze(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::STOP)?)
    }

    /// Ends the plugin with SIGKILL and starts it again.
    pub(crate) async fn kill(&mut self) -> Result<Death> {
        let (death, _) = self.end(Signal::KILL).await?;
        Ok(death)
    }

    /// Asks the plugin to end, as `systemctl restart` does, and starts it again.
    pub(crate) async fn restart(&mut self) -> Result<Death> {
        let (death, status) = self.end(Signal::TERM).await?;
        anyhow::ensure!(status.success(), "the plugin ended with {status}");
        Ok(death)
    }

    fn pid(&self) -> Result<Pid> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        pid.context("the plugin ended by itself")
    }

    async fn end(&mut self, signal: Signal) -> Result<(Death, ExitStatus)> {
        let pid = self.pid()?;
        let signalled = Instant::now();
        kill_process(pid, signal)?;
        // If it was frozen.
        kill_process(pid, Signal::CONT)?;
        let status = self.child.wait().await?;
        let gone = Instant::now();
        self.child = spawn(&self.config, &self.socket)?;
        Ok((Death { signalled, gone }, status))
    }
}

/// Hands over the socket as file 3, as systemd does. The kernel ends the plugin when the thread of this test does.
fn spawn(config: &std::path::Path, socket: &UnixListener) -> Result<Child> {
    const HAND_OVER: &str = r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@""#;
    let child = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "sh",
            "-c",
            HAND_OVER,
            "sh",
            PLUGIN,
            "--log-level",
            "error",
            "--config",
        ])
        .arg(config)
        .stdin(Stdio::from(OwnedFd::from(socket.try_clone()?)))
        .kill_on_drop(true)
        .spawn();
    child.context("cannot start setpriv (of util-linux)")
}
