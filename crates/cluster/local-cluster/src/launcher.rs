//! Starting programs that cannot outlive the supervisor, however that ends: the next one must find their ports and sockets free.
//!
//! The kernel sends a signal to a child whose parent dies, if the child asks for it. A program of somebody else does not ask, so each is
//! started by this one, which asks and then becomes that program: the process id stays, and so does the request.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use keystead_runtime::{Failure, plain_environment};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::Child;

/// What is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    /// Besides what every program gets. Ids and no secrets.
    pub(crate) environment: Vec<(String, String)>,
    /// The working directory. A host's processes find its sockets by it: see `host.rs`.
    pub(crate) directory: PathBuf,
    /// What it prints is appended there.
    pub(crate) log: PathBuf,
    /// How long it may take to end when it is asked to.
    pub(crate) grace: Duration,
}

/// What starts programs: `keystead` itself.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    keystead: PathBuf,
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Launcher {
    pub(crate) fn new(keystead: PathBuf) -> Self {
        Self { keystead }
    }

    /// The program that this one is.
    pub(crate) fn keystead(&self) -> &Path {
        &self.keystead
    }

    /// Starts a program. To be called on the main thread: the kernel takes the end of the thread that started a child for the end of its parent.
    pub(crate) fn start(&self, program: &Program) -> io::Result<Running> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&program.log)?;
        let errors = log.try_clone()?;
        let mut command = tokio::process::Command::new(&self.keystead);
        command
            .args(["local-clusters", "become", "--child-of", &std::process::id().to_string(), "--"])
            .arg(&program.path)
            .args(&program.args)
            // Settings of whoever started the server are not those of the cluster.
            .env_clear()
            .envs(plain_environment())
            .envs(program.environment.iter().cloned())
            .current_dir(&program.directory)
            // A signal of the terminal is for the supervisor, which stops its children in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true);
        Ok(Running { child: command.spawn()? })
    }
}

impl Running {
    /// How it ended. May be cancelled.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end, waits as long as `patience`, and ends it.
    pub(crate) async fn stop(mut self, patience: Duration) -> io::Result<ExitStatus> {
        // It is not waited for yet, so that the id is still its own, also if it has ended.
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(id) = id {
            kill_process(id, Signal::TERM)?;
        }
        if let Ok(ended) = tokio::time::timeout(patience, self.child.wait()).await {
            return ended;
        }
        self.child.kill().await?;
        self.child.wait().await
    }
}

/// Becomes a program that the kernel kills when the process `parent` ends. It returns only to say why it could not.
///
/// # Errors
///
/// Where the parent has ended already, or the program cannot be started.
pub fn become_child(parent: u32, program: &OsStr, args: &[OsString]) -> Failure {
    let failed =
        |error: io::Error| Failure::new(format!("cannot start {}: {error}", Path::new(program).display()));
    let is_gone = || getppid().map(|it| it.as_raw_nonzero().get().cast_unsigned()) != Some(parent);
    let gone = || Failure::new(format!("process {parent}, which started this one, has ended"));
    if is_gone() {
        return gone();
    }
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return failed(error.into());
    }
    // It may have ended before the kernel was asked.
    if is_gone() {
        return gone();
    }
    failed(std::process::Command::new(program).args(args).exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_started_for_a_parent_that_is_gone() {
        let refused = become_child(u32::MAX, OsStr::new("true"), &[]).to_string();
        assert!(refused.contains("has ended"), "{refused}");
    }
}
