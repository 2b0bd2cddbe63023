//! A disk that is full, or that refuses: calls are refused in order, and everything goes on by itself once there is room.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keystead_audit::{AuditLog, AuditSettings, EventKind, LogState, verify};
use keystead_model::ErrorClass;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::scene;

const FULL: &str = "KEYSTEAD_AUDIT_TEST_FULL";
const LIMITED: &str = "KEYSTEAD_AUDIT_TEST_LIMITED";

#[test]
#[ignore = "needs root"]
fn a_full_file_system_uses_the_reserve_then_refuses_and_recovers() {
    let dir = scene::directory();
    // The mount ends with the process.
    let script = "mount -t tmpfs -o size=4m none \"$1\" && shift && exec \"$@\"";
    let inner = scene::again("space::fills_a_file_system_when_asked", FULL, dir.path());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(dir.path()).arg(inner.get_program());
    command.args(inner.get_args()).env(FULL, dir.path());
    succeeded(&command.output().expect("unshare runs"));
}

/// Not a test by itself, and instantly over, unless the one above starts it.
#[test]
fn fills_a_file_system_when_asked() {
    let Some(dir) = std::env::var_os(FULL).map(PathBuf::from) else { return };
    let log =
        AuditLog::open(&dir, AuditSettings { reserve_bytes: 1 << 20, ..scene::settings() }).expect("opens");
    scene::append(&log, ["first"]);
    assert_eq!(log.state(), LogState::Normal);
    let hog = dir.join("hog");
    fill(&hog);

    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut acknowledged = 1;
    let mut states = vec![LogState::Normal];
    let refused = loop {
        match runtime.block_on(log.append(&scene::event(acknowledged))) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        let state = log.state();
        if states.last() != Some(&state) {
            states.push(state);
        }
        match state {
            LogState::MutationsRefused => {
                let error = log.admits(EventKind::AdminWrite).expect_err("changes are refused");
                assert_eq!(error.class(), ErrorClass::Unavailable);
                log.admits(EventKind::DataRead).expect("the rest is not");
            }
            _ => log.admits(EventKind::AdminWrite).expect("changes are let in"),
        }
        assert!(acknowledged < 100_000, "the reserve has no end");
    };
    assert_eq!(states, [LogState::Normal, LogState::Low, LogState::MutationsRefused]);
    assert!(acknowledged > 500, "the reserve holds more than {acknowledged} records");
    assert_eq!(refused.class(), ErrorClass::Unavailable, "{refused}");
    assert_eq!(log.state(), LogState::Full);
    let error = log.admits(EventKind::AdminRead).expect_err("every call is refused");
    assert_eq!(error.class(), ErrorClass::Unavailable);

    fs::remove_file(&hog).expect("removable");
    scene::wait_until("room", || log.state() == LogState::Normal);
    log.admits(EventKind::AdminWrite).expect("all is well");
    scene::append(&log, ["last"]);
    log.close();
    recorded(&dir, acknowledged + 1);
}

#[test]
fn a_file_that_may_not_grow_refuses_every_call_until_it_may() {
    let dir = scene::directory();
    let inner = scene::again("space::meets_a_limit_when_asked", LIMITED, dir.path());
    // Without the signal a write past the limit is an error.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).env(LIMITED, dir.path());
    succeeded(&command.output().expect("sh runs"));
}

/// Not a test by itself, and instantly over, unless the one above starts it.
#[test]
fn meets_a_limit_when_asked() {
    let Some(dir) = std::env::var_os(LIMITED).map(PathBuf::from) else { return };
    let log = AuditLog::open(&dir, AuditSettings { reserve_bytes: 0, ..scene::settings() }).expect("opens");
    let no_limit = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(20_000), ..no_limit }).expect("a lower limit");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut acknowledged = 0;
    let error = loop {
        match runtime.block_on(log.append(&scene::event(acknowledged))) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!((10..40).contains(&acknowledged), "{acknowledged}");
    assert_eq!(error.class(), ErrorClass::Unavailable);
    assert!(error.to_string().contains("File too large"), "{error}");
    assert_eq!(log.state(), LogState::Full);
    log.admits(EventKind::DataRead).expect_err("every call is refused");
    let text = fs::read(&scene::segments(&dir)[0]).expect("readable");
    assert_eq!(text.last(), Some(&b'\n'), "what was written of the last record is cut off");
    setrlimit(Resource::Fsize, no_limit).expect("the old limit");
    scene::wait_until("recovery", || log.state() == LogState::Normal);
    scene::append(&log, ["last"]);
    log.close();
    recorded(&dir, acknowledged + 1);
}

/// The chain is good, has so many calls, and says for how long nothing could be recorded.
fn recorded(dir: &Path, calls: usize) {
    verify(dir, None).expect("the chain is good");
    let records = scene::records(dir);
    assert_eq!(records.iter().filter(|it| it.get("protoPayload").is_some()).count(), calls);
    let resumed: Vec<_> =
        records.iter().filter(|it| it["jsonPayload"]["@type"] == "keystead.audit.Resumed").collect();
    assert_eq!(resumed.len(), 1);
    assert_eq!(resumed[0]["jsonPayload"]["failed"], 1, "{}", resumed[0]);
    println!("all recorded");
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

/// The process ran its test to the end.
fn succeeded(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("all recorded"), "{out}\n{err}");
}
