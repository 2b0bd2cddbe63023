//! Old segments go, and what is left can still be verified.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use keystead_audit::{AuditLog, AuditSettings, ProblemKind, VerifyError, verify};

use crate::scene;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn settings(days: i64) -> AuditSettings {
    let now = scene::time() + SignedDuration::from_hours(24 * days);
    AuditSettings {
        segment_bytes: 2000,
        segment_age: 1000 * DAY,
        retention: Some(30 * DAY),
        clock: Arc::new(move || now),
        ..scene::settings()
    }
}

/// Opens a log as a server does that ran until then: a longer time without one counts as a jump of the clock.
fn open_after(dir: &std::path::Path, days: i64) -> AuditLog {
    let settings = settings(days);
    if let Ok(lock) = fs::File::options().write(true).open(dir.join("lock")) {
        lock.set_modified((settings.clock)().into()).expect("dated");
    }
    AuditLog::open(dir, settings).expect("opens")
}

#[test]
fn sealed_segments_go_when_their_time_is_over_and_the_rest_verifies() {
    let dir = scene::directory();
    for day in [0, 20, 40] {
        let log = open_after(dir.path(), day);
        scene::append(&log, (1..=8).map(|n| format!("{day}-{n}")));
        log.close();
    }
    let before = verify(dir.path(), None).expect("good");
    assert!(before.first > 1, "some of the first day are gone by day 40");
    let left = scene::records(dir.path());
    let ids: Vec<&str> = left.iter().filter_map(|it| it["insertId"].as_str()).collect();
    assert!(!ids.contains(&"0-1") && ids.contains(&"20-8") && ids.contains(&"40-8"), "{ids:?}");
    let said = left.iter().filter(|it| it["jsonPayload"]["@type"] == "keystead.audit.Retention").count();
    assert_eq!(said, 1);

    // Nothing more to delete on the same day.
    AuditLog::open(dir.path(), settings(40)).expect("opens").close();
    assert_eq!(verify(dir.path(), None).expect("good").first, before.first);

    // What somebody else deletes is not excused.
    let segments = scene::segments(dir.path());
    fs::remove_file(&segments[0]).expect("removable");
    match verify(dir.path(), None).expect_err("a segment is gone") {
        VerifyError::Problems(found) => {
            let problem = &found.problems[0];
            assert!(matches!(problem.kind, ProblemKind::Beheaded { .. }), "{problem}");
            assert_eq!(problem.path, segments[1]);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_not_sealed_stays_however_old() {
    let dir = scene::directory();
    let large = |days| AuditSettings { segment_bytes: 1 << 20, ..settings(days) };
    let log = AuditLog::open(dir.path(), large(0)).expect("opens");
    scene::append(&log, 1..=3);
    log.close();
    let log = AuditLog::open(dir.path(), large(900)).expect("opens");
    scene::append(&log, 4..=5);
    log.close();
    assert_eq!(verify(dir.path(), None).expect("good").records, 5);
}

#[test]
fn a_damaged_segment_goes_with_the_next_that_is_good() {
    let dir = scene::directory();
    let log = AuditLog::open(dir.path(), settings(0)).expect("opens");
    scene::append(&log, 1..=12);
    log.close();
    let segments = scene::segments(dir.path());
    assert!(segments.len() >= 4, "{segments:?}");
    fs::write(&segments[1], "nothing\n").expect("writable");
    let log = open_after(dir.path(), 40);
    scene::append(&log, [13]);
    log.close();
    let left = scene::segments(dir.path());
    assert!(!left.contains(&segments[1]) && !left.contains(&segments[2]), "{left:?}");
    verify(dir.path(), None).expect("what is left is good");
}

#[test]
fn a_clock_that_jumped_ends_no_records_time() {
    let dir = scene::directory();
    let log = AuditLog::open(dir.path(), settings(0)).expect("opens");
    scene::append(&log, 1..=12);
    log.close();
    let before = scene::segments(dir.path());
    // To the process that starts it is 40 days later than the one before it left.
    for restart in 0..2 {
        let log = AuditLog::open(dir.path(), settings(40)).expect("opens");
        scene::append(&log, [13 + restart]);
        assert_eq!(log.last_alive(), Some(scene::time()), "a restart ends no wait");
        log.close();
    }
    let after = scene::segments(dir.path());
    assert!(before.iter().all(|it| after.contains(it)), "{after:?}");
    let log = open_after(dir.path(), 40);
    scene::append(&log, [15]);
    log.close();
    assert!(!scene::segments(dir.path()).contains(&before[0]), "the control");
}
