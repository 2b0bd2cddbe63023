//! Runs the commands that act on the plugin under test.

use std::io::{Read, Seek};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::plugin::quote;

/// A hook that hangs must not hang the suite.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `command` in a shell and waits until it returns, not for what it leaves in the background.
pub(crate) async fn run(name: &str, command: &str) -> Result<(), String> {
    let mut said = tempfile::tempfile().map_err(|error| format!("no temporary file: {error}"))?;
    let stderr = said.try_clone().map_err(|error| format!("no temporary file: {error}"))?;
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("hook {name}: sh does not start: {error}"))?;
    let status = match tokio::time::timeout(LIMIT, child.wait()).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(format!("hook {name}: {error}")),
        Err(_) => return Err(format!("hook {name} did not return within {} s", LIMIT.as_secs())),
    };
    if status.success() {
        return Ok(());
    }
    let mut text = Vec::new();
    if said.rewind().is_ok() && said.read_to_end(&mut text).is_err() {
        text.clear();
    }
    Err(format!("hook {name}: {status}: {}", quote(String::from_utf8_lossy(&text).trim())))
}
