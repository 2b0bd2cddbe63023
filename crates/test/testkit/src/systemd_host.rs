//! A host that systemd runs: the real one, as the first process of namespaces of its own on this machine.
//!
//! It has its own processes, mounts, cgroups and hostname, and the network of this machine. Of this machine's directories it sees all but
//! `/run` and `/tmp`, which are its own, and what it writes to `/etc`, `/var` and `/usr/local` stays its own; `/etc/systemd/system` and
//! `/etc/kubernetes` are empty at first. It needs root. When the [`SystemdHost`] is dropped or this process dies, everything ends, and the
//! machine is as it was.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

/// Far more than the 3 s that it takes: test machines are busy.
const START: Duration = Duration::from_secs(120);
const SEARCH_PATH: &str = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running host.
#[derive(Debug)]
pub struct SystemdHost {
    /// Of systemd, seen from outside.
    pid: u32,
    host: Child,
    lifeline: Option<ChildStdin>,
}

impl SystemdHost {
    /// Boots it, with a directory that it sees under the same name as this machine.
    pub async fn start(shared: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("keystead-systemd-").tempdir()?;
        for (name, text) in [
            ("host.sh", include_str!("systemd_host/host.sh")),
            ("init.sh", include_str!("systemd_host/init.sh")),
        ] {
            fs::write(directory.path().join(name), text)?;
        }
        let mut host = Command::new("unshare")
            .args(["--mount", "sh"])
            .arg(directory.path().join("host.sh"))
            .args([directory.path(), shared])
            .env_clear()
            .env("PATH", SEARCH_PATH)
            // Ctrl-C and a test runner's signals are for us; the lifeline passes them on.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start unshare")?;
        let lifeline = host.stdin.take();
        let reports = host.stdout.take().context("standard output is piped")?;
        // From here on host.sh removes it.
        drop(directory.keep());
        let mut started = Self { pid: 0, host, lifeline };
        let mut reports = BufReader::new(ChildStdout::from_std(reports)?).lines();
        let line = tokio::time::timeout(START, reports.next_line()).await.context("no systemd")??;
        let pid = line.as_deref().and_then(|it| it.strip_prefix("pid ")).context("no systemd")?;
        started.pid = pid.parse()?;
        started
            .wait("systemd has booted", async |host| {
                let state = host.run("systemctl", &["is-system-running"]).await?;
                let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
                ensure!(state == "running" || state == "degraded", "it is {state}");
                Ok(())
            })
            .await?;
        Ok(started)
    }

    /// `program` on the host, as root.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--"])
            .arg(program)
            .env_clear()
            .envs([("PATH", SEARCH_PATH), ("HOME", "/root")])
            .stdin(Stdio::null());
        command
    }

    /// Runs `program` on the host to its end.
    pub async fn run(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Result<Output> {
        let mut command = self.command(program);
        command.args(args);
        Ok(tokio::process::Command::from(command).kill_on_drop(true).output().await?)
    }

    /// What `program` prints, which must succeed.
    pub async fn told(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Result<String> {
        let output = self.run(program, args).await?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{args:?}: {told}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A file of the host, by the name that it has on this machine as long as the host runs.
    pub fn path(&self, path: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join("root").join(path.trim_start_matches('/'))
    }

    /// Asks `check` until it is content, or says why it was not.
    pub async fn wait(&self, what: &str, mut check: impl AsyncFnMut(&Self) -> Result<()>) -> Result<()> {
        // Each check starts a process.
        const PAUSE: Duration = Duration::from_millis(200);
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let Err(error) = check(self).await else { return Ok(()) };
            if tokio::time::Instant::now() >= deadline {
                let journal = self.run("journalctl", &["--no-pager", "--lines=40"]).await?;
                let journal = String::from_utf8_lossy(&journal.stdout).into_owned();
                return Err(error).with_context(|| format!("not after {START:?}: {what}; {journal}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for SystemdHost {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // host.sh ends it, and puts back what it changed.
        drop(self.host.wait());
    }
}
