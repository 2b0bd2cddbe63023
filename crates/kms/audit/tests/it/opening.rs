//! What is found at start: torn ends are cut off, damage is named and stepped over, a second writer is refused.

use std::fs;

use keystead_audit::{AuditError, AuditLog, AuditSettings, ProblemKind, Reader, VerifyError, verify};

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
fn room_behind_the_records_is_none_of_them() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=2);
    let segment = &scene::segments(dir.path())[0];
    let in_use = fs::read(segment).expect("readable");
    assert_eq!(in_use.last(), Some(&0), "a log in use has room for the next records");
    let head = log.head();
    let verified = verify(dir.path(), Some(&head)).expect("a log in use is good");
    assert_eq!((verified.records, verified.torn), (2, 0));
    log.close();
    let whole = fs::read(segment).expect("readable");
    assert!(whole.ends_with(b"\n") && in_use.starts_with(&whole), "a log that was closed has none");

    // The process was killed; in a record, too.
    let first = whole.iter().position(|it| *it == b'\n').expect("two lines") + 1;
    for len in [whole.len(), whole.len() - 1, first + 1, first] {
        fs::write(segment, [&whole[..len], &[0; 9000]].concat()).expect("writable");
        let log = scene::open(dir.path());
        let (records, torn) = if len == whole.len() { (2, 0) } else { (1, len - first) };
        assert_eq!(log.head().sequence, records, "cut at {len}");
        assert_eq!(log.recovered().map_or(0, |it| it.bytes), torn as u64, "cut at {len}");
        assert_eq!(log.problems(), []);
        log.close();
        assert_eq!(
            fs::metadata(segment).expect("there").len(),
            if torn > 0 || records == 1 { first } else { len } as u64
        );
    }
}

#[test]
fn zeros_in_the_place_of_a_record_are_damage_and_nothing_behind_them_is_cut_off() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=4);
    log.close();
    let segment = &scene::segments(dir.path())[0];
    let good = fs::read(segment).expect("readable");
    let ends: Vec<usize> = good.iter().enumerate().filter(|it| *it.1 == b'\n').map(|it| it.0 + 1).collect();
    // A page that was not written: whole lines, from within a line, up to within a line.
    for (what, from, to) in [
        ("one record", ends[0], ends[1]),
        ("two records", ends[0], ends[2]),
        ("a record's beginning", ends[1], ends[1] + 100),
        ("a record's end and another", ends[0] + 100, ends[2]),
        ("the first record", 0, ends[0]),
    ] {
        let mut bytes = [&good[..], &[0; 5000]].concat();
        bytes[from..to].fill(0);
        fs::write(segment, &bytes).expect("writable");
        let Err(VerifyError::Problems(_)) = verify(dir.path(), None) else { panic!("{what}") };
        let log = scene::open(dir.path());
        assert!(!log.problems().is_empty(), "{what}");
        assert_eq!(log.head().sequence, 4, "{what}: the last record is there");
        scene::append(&log, [5]);
        assert!(log.contained(&["4", "5"], 0).expect("readable").len() == 2, "{what}");
        let mut reader = Reader::after(dir.path(), 0);
        let read = std::iter::from_fn(|| reader.next_record().expect("readable"));
        assert_eq!(read.last().map(|it| it.sequence), Some(5), "{what}");
        log.close();
        assert_eq!(fs::read(segment).expect("readable")[to + 100..good.len()], good[to + 100..], "{what}");
    }
}

#[test]
fn a_segment_that_was_not_cut_after_its_footer_is_cut_at_the_next_start() {
    let dir = scene::directory();
    let settings = AuditSettings { segment_bytes: 2000, ..scene::settings() };
    let log = AuditLog::open(dir.path(), settings.clone()).expect("opens");
    scene::append(&log, 1..=3);
    log.close();
    let segment = scene::segments(dir.path()).pop().expect("one");
    let sealed = fs::read(&segment).expect("readable");
    assert!(sealed.windows(13).any(|it| it == b"SegmentFooter"));
    fs::remove_file(&segment).expect("removable");
    fs::write(&segment, [&sealed[..], &[0; 70_000]].concat()).expect("writable");
    verify(dir.path(), None).expect("it is good so far");
    let log = AuditLog::open(dir.path(), settings).expect("opens");
    assert_eq!(log.problems(), []);
    assert_eq!(fs::read(&segment).expect("readable"), sealed);
    scene::append(&log, [4]);
    log.close();
    verify(dir.path(), None).expect("and stays so");
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
fn damage_is_named_and_the_log_goes_on_behind_it() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=5);
    log.close();
    let segment = &scene::segments(dir.path())[0];
    let good = fs::read(segment).expect("readable");
    let lines: Vec<&[u8]> = good.split_inclusive(|it| *it == b'\n').collect();
    let other = |line: &[u8]| line.to_ascii_uppercase();
    let long = [vec![b'x'; 17 << 20], b"\n".to_vec()].concat();
    for (what, bytes, line, next) in [
        ("a byte of record 3", [lines[0], lines[1], &other(lines[2]), lines[3], lines[4]].concat(), 3, 6),
        ("record 2 is gone", [lines[0], lines[2], lines[3], lines[4]].concat(), 2, 6),
        ("2 and 3 change places", [lines[0], lines[2], lines[1], lines[3], lines[4]].concat(), 2, 6),
        ("record 4 twice", [lines[0], lines[1], lines[2], lines[3], lines[3], lines[4]].concat(), 5, 6),
        ("a line that is none", [lines[0], b"\n", lines[1]].concat(), 2, 3),
        ("record 1 is gone", lines[1..].concat(), 1, 6),
        ("a line of 17 MiB", [lines[0], &long, lines[1], lines[2]].concat(), 2, 4),
        // A record says so, and what is under that number already may be known elsewhere.
        ("a byte of the last", [lines[0], lines[1], &other(lines[2])].concat(), 3, 5),
        ("a byte of all", [other(lines[0]), other(lines[1])].concat(), 1, 4),
        ("no record at all", b"\xff\xff\n\0\n\n".to_vec(), 1, 5),
    ] {
        fs::write(segment, bytes).expect("writable");
        let log = scene::open(dir.path());
        let problem = log.problems().first().expect(what).to_string();
        assert!(problem.starts_with(&format!("{}:{line}: ", segment.display())), "{what}: {problem}");
        scene::append(&log, [6]);
        assert_eq!(log.head().sequence, next, "{what}");
        log.close();

        let log = scene::open(dir.path());
        scene::append(&log, [7]);
        assert_eq!(log.head().sequence, next + 1, "{what}: a good end is nothing to step over");
        assert!(log.contained(&["7"], 0).expect("readable").contains("7"), "{what}");
        log.close();
        let mut reader = Reader::after(dir.path(), 0);
        let read = std::iter::from_fn(|| reader.next_record().expect("readable"));
        assert_eq!(read.last().map(|it| it.sequence), Some(next + 1), "{what}");
        let Err(VerifyError::Problems(found)) = verify(dir.path(), None) else { panic!("{what}") };
        let first = &found.problems[0];
        assert!(first.line == line || matches!(first.kind, ProblemKind::Beheaded { .. }), "{what}: {found}");
        assert_eq!(found.verified.head.sequence, next + 1, "{what}");
    }
    fs::write(segment, good).expect("writable");
    scene::open(dir.path()).close();
}

#[test]
fn sealed_segments_that_do_not_meet_are_named() {
    let dir = scene::directory();
    let settings = AuditSettings { segment_bytes: 2000, ..scene::settings() };
    let log = AuditLog::open(dir.path(), settings.clone()).expect("opens");
    scene::append(&log, 1..=12);
    log.close();
    let segments = scene::segments(dir.path());
    assert!(segments.len() >= 4, "{segments:?}");
    let good = fs::read(&segments[1]).expect("readable");

    let problem = || {
        let log = AuditLog::open(dir.path(), settings.clone()).expect("opens");
        log.problems().first().map(ToString::to_string).expect("it is damaged")
    };
    fs::remove_file(&segments[1]).expect("removable");
    assert!(problem().starts_with(&format!("{}:1: records ", segments[2].display())));
    let footer = good[..good.len() - 1].iter().rposition(|it| *it == b'\n').expect("lines") + 1;
    fs::write(&segments[1], &good[..footer]).expect("writable");
    assert!(problem().contains("footer"));
    fs::write(&segments[1], [&good[..footer], &good[footer..].to_ascii_uppercase()].concat())
        .expect("writable");
    assert!(problem().contains("footer"));
    fs::write(&segments[1], good).expect("writable");
    assert_eq!(AuditLog::open(dir.path(), settings.clone()).expect("opens").problems(), []);
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
    let log = scene::open(dir.path());
    assert_eq!(log.problems()[0].line, lines + 1);
    assert_eq!(log.problems()[0].kind, ProblemKind::Footer);
    // The next record begins a segment.
    scene::append(&log, [7]);
    let newest = segments[0].with_file_name(format!("audit-{:020}.jsonl", log.head().sequence));
    assert!(newest.exists(), "{}", newest.display());
}

#[test]
fn a_second_writer_is_refused() {
    let dir = scene::directory();
    let first = scene::open(dir.path());
    let error = AuditLog::open(dir.path(), scene::settings()).err().expect("in use");
    assert!(matches!(error, AuditError::InUse { path } if path == dir.path()));
    first.close();
    scene::open(dir.path());
}
