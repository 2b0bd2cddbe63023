//! `keystead cluster ...` as a process of its own.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::filled::{Filled, check};

/// How often its memory is looked at. The kernel keeps the peak; what it grows by after the last look is missed.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) struct Counted {
    pub(crate) took: Duration,
    /// `VmHWM`.
    pub(crate) peak_kib: u64,
}

/// Runs it to its end and checks what it counted.
pub(crate) fn inventory(args: &[&str], filled: &Filled) -> Result<Counted> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYSTEAD_") {
            command.env_remove(name);
        }
    }
    command.arg("cluster").args(args).args(["--format", "json"]);
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(peak(&child).unwrap_or_default());
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK);
    };
    let took = start.elapsed();
    ensure!(status.success(), "keystead cluster {args:?} ended with {status}");
    // One group and no bad value: far less than a pipe holds.
    let mut report = String::new();
    child.stdout.take().context("its output is piped")?.read_to_string(&mut report)?;
    let report: Value = serde_json::from_str(&report)?;
    let objects = report.pointer("/current/objects").and_then(Value::as_u64);
    check(filled, objects.context("the report has no count")?)?;
    ensure!(peak_kib > 0, "nothing was seen of its memory");
    Ok(Counted { took, peak_kib })
}

fn peak(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
