//! The process is killed while it appends: every record that was acknowledged is there, and the chain goes on.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use keystead_audit::{AuditLog, AuditSettings, verify};

use crate::scene;

const DIR: &str = "KEYSTEAD_AUDIT_TEST_CRASH";
const KILLS: usize = 30;

#[test]
fn no_acknowledged_record_is_lost_over_thirty_kills() {
    let dir = scene::directory();
    let mut acknowledged = Vec::new();
    for kill in 0..KILLS {
        let mut command = scene::again("crash::appends_until_it_is_killed", DIR, dir.path());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("this program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // At a time that is another for each kill: between the first records and a few segments later.
        let wanted = 1 + kill * 37 % 400;
        let ids =
            lines.by_ref().map_while(Result::ok).filter_map(|it| Some(it.strip_prefix("id ")?.to_owned()));
        acknowledged.extend(ids.take(wanted));
        child.kill().expect("it can be killed");
        child.wait().expect("it is dead");
        // What it said before it died.
        let rest = lines.map_while(Result::ok);
        acknowledged.extend(rest.filter_map(|it| Some(it.strip_prefix("id ")?.to_owned())));
        verify(dir.path(), None).unwrap_or_else(|problem| panic!("after kill {kill}: {problem}"));
    }
    // The next start cuts off what is torn.
    scene::open(dir.path()).close();
    let verified = verify(dir.path(), None).expect("the chain is good");
    assert_eq!(verified.torn, 0);
    assert!(verified.segments > 3, "{verified:?}");
    let records = scene::records(dir.path());
    let recorded: Vec<&str> = records.iter().filter_map(|it| it["insertId"].as_str()).collect();
    let distinct: HashSet<&str> = recorded.iter().copied().collect();
    assert_eq!(distinct.len(), recorded.len(), "no record is there twice");
    assert!(acknowledged.len() > KILLS * 100, "{}", acknowledged.len());
    let lost: Vec<_> = acknowledged.iter().filter(|it| !distinct.contains(it.as_str())).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}

/// Not a test by itself, and instantly over, unless the one above starts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let settings = AuditSettings { segment_bytes: 100_000, ..scene::settings() };
    let log = Arc::new(AuditLog::open(&dir, settings).expect("opens"));
    let start = log.head().sequence;
    let out = Arc::new(Mutex::new(std::io::stdout()));
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (log, out) = (Arc::clone(&log), Arc::clone(&out));
            // Tasks with an end of their own: the kill.
            tokio::task::spawn_blocking(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                for n in 0.. {
                    let id = format!("{start}-{caller}-{n}");
                    runtime.block_on(log.append(&scene::event(&id))).expect("written");
                    let mut out = out.lock().expect("not poisoned");
                    if writeln!(out, "id {id}").and_then(|()| out.flush()).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
}
