//! Records are durable when the answer comes, and written even when nobody waits for it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::{fs, thread};

use keystead_audit::{AuditError, AuditLog, AuditSettings, EventKind, Head};
use keystead_model::ErrorClass;

use crate::scene;

#[test]
fn many_callers_at_once_each_get_a_place_of_their_own() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    assert_eq!(log.head(), Head::NONE);
    let places = thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let log = &log;
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                    let append = |n| log.append(&scene::event(format!("{caller}-{n}")));
                    (0..50)
                        .map(|n| runtime.block_on(append(n)).expect("written").sequence)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().map(|it| it.join().expect("no panic")).collect::<Vec<_>>()
    });
    for places in &places {
        assert!(places.is_sorted(), "one caller's records are in its order");
    }
    let all: BTreeSet<u64> = places.into_iter().flatten().collect();
    assert_eq!(all, (1..=400).collect());
    assert_eq!(log.head().sequence, 400);
    log.close();
    let records = scene::records(dir.path());
    let ids: BTreeSet<&str> = records.iter().filter_map(|it| it["insertId"].as_str()).collect();
    assert_eq!(ids.len(), 400);
}

#[test]
fn a_record_whose_caller_went_away_is_written() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    for id in 0..100 {
        drop(log.append(&scene::event(id)));
    }
    log.close();
    assert_eq!(scene::records(dir.path()).len(), 100);
}

#[test]
fn a_record_is_in_the_file_when_the_answer_comes() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    for id in 1..=20 {
        scene::append(&log, [id]);
        assert_eq!(scene::records(dir.path()).last().expect("a record")["insertId"], id.to_string());
    }
}

#[test]
fn a_full_queue_refuses_and_lets_nobody_in_long_before() {
    let dir = scene::directory();
    // The writer waits for its clock, as it would for a disk that hangs.
    let gate = Arc::new(std::sync::Mutex::new(()));
    let closed = gate.lock().expect("not poisoned");
    let clock = {
        let gate = Arc::clone(&gate);
        Arc::new(move || {
            drop(gate.lock());
            scene::time()
        })
    };
    let log = AuditLog::open(dir.path(), AuditSettings { clock, ..scene::settings() }).expect("opens");
    let mut admitted = 0;
    let mut put = 0;
    let refusal = loop {
        if log.admits(EventKind::DataRead).is_ok() {
            admitted += 1;
        }
        let mut append = Box::pin(log.append(&scene::event(put)));
        match futures_poll(append.as_mut()) {
            Some(refused) => break refused.expect_err("nothing can be written"),
            None => put += 1,
        }
        assert!(put < 1_000_000, "the queue has no end");
    };
    assert!(matches!(refusal, AuditError::Behind { .. }), "{refusal}");
    assert_eq!(refusal.class(), ErrorClass::Unavailable);
    assert!(admitted * 3 < put * 2, "{admitted} admitted, {put} put");
    drop(closed);
    let first = log.append(&scene::event("last"));
    drop(first);
    log.close();
    let written = scene::records(dir.path()).len();
    assert!(written == put || written == put + 1, "{written} written of {put}");
}

/// One poll: `None` while it waits.
fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn nobody_else_may_read_it() {
    let dir = scene::directory();
    let inside = dir.path().join("audit");
    fs::create_dir(&inside).expect("a directory");
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).expect("the mode can be set");
    let log = scene::open(&inside);
    scene::append(&log, [1]);
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(inside.as_path()), 0o700);
    assert_eq!(mode(&scene::segments(&inside)[0]), 0o600);
}

#[test]
fn a_full_segment_is_sealed_and_the_next_one_goes_on() {
    let dir = scene::directory();
    let settings = AuditSettings { segment_bytes: 4000, ..scene::settings() };
    let log = AuditLog::open(dir.path(), settings.clone()).expect("opens");
    scene::append(&log, 1..=30);
    log.close();
    let log = AuditLog::open(dir.path(), settings).expect("opens again");
    scene::append(&log, 31..=40);
    let found = |after| {
        let mut found: Vec<String> =
            log.contained(&["1", "40", "41"], after).expect("can be read").into_iter().collect();
        found.sort();
        found
    };
    assert_eq!(found(0), ["1", "40"]);
    assert_eq!(found(39), ["40"], "segments from before are not read");
    log.close();

    let segments = scene::segments(dir.path());
    assert!(segments.len() > 5, "{segments:?}");
    let mut next = 1;
    for path in &segments[..segments.len() - 1] {
        assert_eq!(fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o400);
        let text = fs::read_to_string(path).expect("readable");
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let (footer, records) = records.split_last().expect("a footer");
        assert_eq!(path.file_name().expect("a name").to_str(), Some(&*format!("audit-{next:020}.jsonl")));
        let last = next + records.len() as u64 - 1;
        let payload = &footer["jsonPayload"];
        assert_eq!(payload["@type"], "keystead.audit.SegmentFooter");
        assert_eq!((&payload["firstSequence"], &payload["lastSequence"]), (&next.into(), &last.into()));
        assert_eq!(payload["records"], records.len());
        assert_eq!(footer["sequence"], last + 1);
        next = last + 2;
    }
    let all = scene::records(dir.path());
    assert_eq!(all.iter().filter(|it| it.get("protoPayload").is_some()).count(), 40);
    assert!(all.windows(2).all(|it| it[1]["previous"] == it[0]["hash"]));
}

#[test]
fn an_old_segment_is_sealed_however_small() {
    let dir = scene::directory();
    let settings = AuditSettings { segment_age: std::time::Duration::from_secs(3600), ..scene::settings() };
    let log = AuditLog::open(dir.path(), settings.clone()).expect("opens");
    scene::append(&log, [1]);
    log.close();
    let later = scene::time() + jiff::SignedDuration::from_secs(3600);
    let log = AuditLog::open(dir.path(), AuditSettings { clock: Arc::new(move || later), ..settings });
    let log = log.expect("opens again");
    scene::append(&log, [2, 3]);
    log.close();
    assert_eq!(scene::segments(dir.path()).len(), 2);
}
