//! Logs in temporary directories, and events to put in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keystead_audit::{AuditLog, AuditSettings, Event, EventKind};

pub(crate) const KEY: &str = "projects/p-one/locations/global/keyRings/r/cryptoKeys/k";

pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub(crate) fn time() -> Timestamp {
    "2026-01-31T12:00:00.5Z".parse().expect("a time")
}

/// A clock that stands still.
pub(crate) fn settings() -> AuditSettings {
    AuditSettings { clock: Arc::new(time), reserve_bytes: 1 << 20, ..AuditSettings::default() }
}

pub(crate) fn open(dir: &Path) -> AuditLog {
    AuditLog::open(dir, settings()).expect("the log opens")
}

pub(crate) fn event(id: impl ToString) -> Event {
    Event::new(id.to_string(), time(), "cloudkms.googleapis.com", "Encrypt", KEY, EventKind::DataRead)
}

/// Appends one record for each id, one after the other.
pub(crate) fn append(log: &AuditLog, ids: impl IntoIterator<Item = impl ToString>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for id in ids {
        runtime.block_on(log.append(&event(id))).expect("the record is written");
    }
}

/// Paths of all segments, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .expect("the directory can be listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
        .collect();
    found.sort();
    found
}

/// All records, parsed.
pub(crate) fn records(dir: &Path) -> Vec<serde_json::Value> {
    let text: String =
        segments(dir).iter().map(|path| fs::read_to_string(path).expect("a segment can be read")).collect();
    // Of a log in use the newest segment has room behind its records.
    text.trim_end_matches('\0')
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record is JSON"))
        .collect()
}

/// Comes back when it holds; a minute is far more than a busy machine needs.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// This test program again, as a process that runs one test of `module`, which looks for `variable`.
pub(crate) fn again(test: &str, variable: &str, value: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture"]).env(variable, value);
    command
}
