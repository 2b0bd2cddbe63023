//! systemd, asked with its own `systemctl`.

use std::process::{Command, Stdio};

use keystead_runtime::Failure;

/// Refuses where systemd does not run the host.
pub(super) fn must_run() -> Result<(), Failure> {
    let none = || {
        Failure::new("systemd does not run this host")
            .hint("use --as static-pod, or start keystead-plugin with what this host has".to_owned())
    };
    let asked = Command::new("systemctl").arg("is-system-running").stdin(Stdio::null()).output();
    let output = asked.map_err(|error| none().caused_by(format!("systemctl: {error}")))?;
    // It also ends with 1 where a unit has failed, and says `offline` where it was not booted.
    match String::from_utf8_lossy(&output.stdout).trim() {
        "initializing" | "starting" | "running" | "degraded" | "maintenance" => Ok(()),
        state => Err(none().caused_by(format!("`systemctl is-system-running` says {state:?}"))),
    }
}

/// Runs it.
pub(super) fn run(words: &[&str]) -> Result<(), Failure> {
    let failed = || Failure::new(format!("`systemctl {}` failed", words.join(" ")));
    let output = Command::new("systemctl").args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed().caused_by(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed().caused_by(String::from_utf8_lossy(&output.stderr).trim())),
    }
}
