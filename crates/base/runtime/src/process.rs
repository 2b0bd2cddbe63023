//! The process and its surroundings: signals, standard output, the service manager, memory that does not leave the machine.

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::Failure;

/// Takes over SIGTERM and SIGINT at once; what it gives resolves at the first of them, with its name. Call it before
/// anybody is told that the process is ready, or a signal in between ends the process without a farewell.
pub fn termination() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// What a program of somebody else, or a process that outlives this one, is given of our environment: where programs are found, and what
/// libfaketime needs, so that all processes of a machine whose clock is played have the same time. Settings and credentials stay here.
pub fn plain_environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| is_plain(name))
}

fn is_plain(name: &OsStr) -> bool {
    name == "PATH"
        || name == "HOME"
        || name == "LD_PRELOAD"
        || name.as_encoded_bytes().windows(8).any(|part| part == b"FAKETIME")
}

/// Prints a command's result to standard output. A reader that has gone away (`| head`) is no failure.
pub fn print_result(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot print the result: {error}")))
        }
        _ => Ok(()),
    }
}

/// Keeps key material out of core dumps, other processes' debuggers and swap.
///
/// Answers what could not be done; the caller decides whether that matters. Locking needs a limit for locked memory
/// (`LimitMEMLOCK=infinity` in a unit) or root.
pub fn harden() -> Result<(), NotHardened> {
    let dumps = set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }));
    dumps.map_err(|error| NotHardened::CoreDumps(error.into()))?;
    if !may_lock_all_memory() {
        return Err(NotHardened::MemoryLimit);
    }
    // On fault: locking what is never touched would only cost memory.
    let lock = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    lock.map_err(|error| NotHardened::MemoryLock(error.into()))
}

/// Under a limit, memory that is wanted later could not be had at all.
fn may_lock_all_memory() -> bool {
    let has_capability =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    has_capability || getrlimit(Resource::Memlock).current.is_none()
}

/// What the operating system refused.
#[derive(Debug, thiserror::Error)]
pub enum NotHardened {
    /// Core dumps stay possible.
    #[error("core dumps cannot be switched off")]
    CoreDumps(#[source] std::io::Error),
    /// Memory may be swapped out: locking it under a limit would be worse.
    #[error("memory is not locked, so keys may be written to swap: the limit for locked memory is finite")]
    MemoryLimit,
    /// Memory may be swapped out.
    #[error("memory cannot be locked, so keys may be written to swap")]
    MemoryLock(#[source] std::io::Error),
}

/// Words to the service manager; silent where there is none.
#[derive(Default)]
pub struct Notify {
    last_status: Mutex<String>,
}

impl Notify {
    /// `READY=1`.
    pub fn ready(&self) {
        send(&[NotifyState::Ready]);
    }

    /// `STOPPING=1`.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }

    /// `STATUS=`, when it is new.
    pub fn status(&self, text: &str) {
        let mut last = self.last_status.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            text.clone_into(&mut last);
            send(&[NotifyState::Status(text)]);
        }
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_credentials_are_not_plain() {
        for kept in ["PATH", "HOME", "LD_PRELOAD", "FAKETIME", "FAKETIME_SHARED", "NO_FAKETIME_X"] {
            assert!(is_plain(OsStr::new(kept)), "{kept}");
        }
        for not in ["KEYSTEAD_SERVER_LISTEN", "KUBECONFIG", "HTTPS_PROXY", "PATHS", "GOGC"] {
            assert!(!is_plain(OsStr::new(not)), "{not}");
        }
    }
}
