//! What is found at start: torn ends are cut off, damage is named, a second writer is refused.

use std::fs;

use keystead_audit::{AuditError, AuditLog, AuditSettings};
use keystead_model::ErrorClass;

use crate::scene;

#[test]
fn the_chain_goes_on_where_it_ended() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=5);
    let head = log.head();
    log.close();
    let log = scene::open(dir.path());
    assert_eq!(log.head(), head);
    assert_eq!(log.recovered(), None);
    scene::append(&log, [6]);
    log.close();
    let records = scene::records(dir.path());
    assert_eq!(records[5]["previous"], head.hash.to_string());
    assert_eq!(records[5]["sequence"], 6);
}

#[test]
fn wherever_a_write_was_cut_off_what_was_acknowledged_stays() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=2);
    log.close();
    let segment = &scene::segments(dir.path())[0];
    let whole = fs::read(segment).expect("readable");
    let first = whole.iter().position(|it| *it == b'\n').expect("two lines") + 1;
    for len in (first..whole.len()).step_by(3).chain([whole.len() - 1]) {
        fs::write(segment, &whole[..len]).expect("writable");
        let log = scene::open(dir.path());
        assert_eq!(log.head().sequence, 1, "cut at {len}");
        let torn = (len - first) as u64;
        assert_eq!(log.recovered().map_or(0, |it| it.bytes), torn, "cut at {len}");
        log.close();
        assert_eq!(fs::read(segment).expect("readable"), &whole[..first]);
    }
}

#[test]
fn an_empty_log_after_a_crash_begins_again() {
    let dir = scene::directory();
    fs::write(dir.path().join("audit-00000000000000000001.jsonl"), b"{\"sequence\":1,\"prev")
        .expect("writable");
    let log = scene::open(dir.path());
    assert_eq!(log.head().sequence, 0);
    scene::append(&log, [1]);
    log.close();
    assert_eq!(scene::records(dir.path()).len(), 1);
}

#[test]
fn damage_is_an_error_that_names_file_and_line() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=5);
    log.close();
    let segment = &scene::segments(dir.path())[0];
    let good = fs::read(segment).expect("readable");
    let lines: Vec<&[u8]> = good.split_inclusive(|it| *it == b'\n').collect();
    for (what, bytes, line) in [
        (
            "a byte of record 3",
            [lines[0], lines[1], &lines[2].to_ascii_uppercase(), lines[3], lines[4]].concat(),
            3,
        ),
        ("record 2 is gone", [lines[0], lines[2], lines[3], lines[4]].concat(), 2),
        ("records 2 and 3 change places", [lines[0], lines[2], lines[1], lines[3], lines[4]].concat(), 2),
        ("record 4 twice", [lines[0], lines[1], lines[2], lines[3], lines[3], lines[4]].concat(), 5),
        ("a line that is none", [lines[0], b"\n", lines[1]].concat(), 2),
        ("record 1 is gone", lines[1..].concat(), 1),
    ] {
        fs::write(segment, bytes).expect("writable");
        let error = AuditLog::open(dir.path(), scene::settings()).err().expect(what);
        assert_eq!(error.class(), ErrorClass::Corrupt, "{what}");
        let AuditError::Damaged { path, line: found, .. } = &error else { panic!("{what}: {error}") };
        assert_eq!((path, *found), (segment, line), "{what}: {error}");
        assert!(error.to_string().contains(&format!("{}:{line}: ", segment.display())), "{error}");
    }
    fs::write(segment, good).expect("writable");
    scene::open(dir.path()).close();
}

#[test]
fn sealed_segments_that_do_not_meet_are_found() {
    let dir = scene::directory();
    let settings = AuditSettings { segment_bytes: 2000, ..scene::settings() };
    let log = AuditLog::open(dir.path(), settings.clone()).expect("opens");
    scene::append(&log, 1..=12);
    log.close();
    let segments = scene::segments(dir.path());
    assert!(segments.len() >= 4, "{segments:?}");
    let good = fs::read(&segments[1]).expect("readable");

    let damaged = || {
        let error = AuditLog::open(dir.path(), settings.clone()).err().expect("it is damaged");
        assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
        error.to_string()
    };
    fs::remove_file(&segments[1]).expect("removable");
    assert!(damaged().contains(&*segments[2].to_string_lossy()));
    let footer = good[..good.len() - 1].iter().rposition(|it| *it == b'\n').expect("lines") + 1;
    fs::write(&segments[1], &good[..footer]).expect("writable");
    assert!(damaged().contains("footer"));
    fs::write(&segments[1], [&good[..footer], &good[footer..].to_ascii_uppercase()].concat())
        .expect("writable");
    assert!(damaged().contains("footer"));
    fs::write(&segments[1], good).expect("writable");
    AuditLog::open(dir.path(), settings.clone()).expect("whole again");
}

#[test]
fn nothing_follows_a_footer() {
    let dir = scene::directory();
    let log = AuditLog::open(dir.path(), AuditSettings { segment_bytes: 2000, ..scene::settings() })
        .expect("opens");
    scene::append(&log, 1..=6);
    log.close();
    // The chain is good, but a sealed segment goes on.
    let segments = scene::segments(dir.path());
    let first = fs::read(&segments[0]).expect("readable");
    let lines = first.split_inclusive(|it| *it == b'\n').count() as u64;
    let next = fs::read(&segments[1]).expect("readable");
    for gone in &segments {
        fs::remove_file(gone).expect("removable");
    }
    fs::write(&segments[0], [first, next].concat()).expect("writable");
    let error = AuditLog::open(dir.path(), scene::settings()).err().expect("damaged");
    assert!(matches!(error, AuditError::Damaged { line, .. } if line == lines + 1), "{error}");
}

#[test]
fn a_second_writer_is_refused() {
    let dir = scene::directory();
    let first = scene::open(dir.path());
    let error = AuditLog::open(dir.path(), scene::settings()).err().expect("in use");
    assert_eq!(error, AuditError::InUse { path: dir.path().to_owned() });
    first.close();
    scene::open(dir.path());
}
