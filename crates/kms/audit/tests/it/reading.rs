//! Reading a log while it grows.

use std::fs;

use keystead_audit::{AuditLog, AuditSettings, Hash, Head, Reader};

use crate::scene;

fn small(dir: &std::path::Path) -> AuditLog {
    AuditLog::open(dir, AuditSettings { segment_bytes: 2000, ..scene::settings() }).expect("opens")
}

fn sequences(reader: &mut Reader) -> Vec<u64> {
    std::iter::from_fn(|| reader.next_record().expect("readable")).map(|it| it.sequence).collect()
}

#[test]
fn a_reader_sees_every_record_once_over_all_segments() {
    let dir = scene::directory();
    let mut reader = Reader::after(dir.path(), 0);
    assert!(sequences(&mut reader).is_empty(), "there is no log yet");
    let log = small(dir.path());
    let mut seen = Vec::new();
    for id in 1..=30 {
        scene::append(&log, [id]);
        seen.extend(sequences(&mut reader));
    }
    log.close();
    seen.extend(sequences(&mut reader));
    let all = scene::records(dir.path()).len() as u64;
    assert!(all > 33, "{all}");
    assert_eq!(seen, (1..=all).collect::<Vec<_>>());

    for after in 0..=all {
        assert_eq!(sequences(&mut Reader::after(dir.path(), after)), (after + 1..=all).collect::<Vec<_>>());
    }
    let mut newest = Reader::newest(dir.path(), 5).expect("readable");
    assert_eq!(sequences(&mut newest), (all - 4..=all).collect::<Vec<_>>());
    let mut newest = Reader::newest(dir.path(), u64::MAX).expect("readable");
    assert_eq!(sequences(&mut newest).len() as u64, all);
}

#[test]
fn half_a_record_is_read_once_it_is_whole() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=2);
    log.close();
    let segment = &scene::segments(dir.path())[0];
    let whole = fs::read(segment).expect("readable");
    let first = whole.iter().position(|it| *it == b'\n').expect("two lines") + 1;
    fs::write(segment, &whole[..first + 50]).expect("writable");
    let mut reader = Reader::after(dir.path(), 0);
    assert_eq!(sequences(&mut reader), [1]);
    assert!(sequences(&mut reader).is_empty());
    fs::write(segment, &whole).expect("writable");
    let record = reader.next_record().expect("readable").expect("it is whole");
    assert_eq!(record.text.as_bytes(), &whole[first..whole.len() - 1]);
}

#[test]
fn records_that_were_deleted_are_counted_and_skipped() {
    let dir = scene::directory();
    let log = small(dir.path());
    scene::append(&log, 1..=20);
    log.close();
    let mut reader = Reader::after(dir.path(), 0);
    assert_eq!(reader.next_record().expect("readable").expect("the first").sequence, 1);
    let segments = scene::segments(dir.path());
    for gone in &segments[..3] {
        fs::remove_file(gone).expect("removable");
    }
    let mut fresh = Reader::after(dir.path(), 1);
    let seen = sequences(&mut fresh);
    let expected = format!("audit-{:020}.jsonl", seen[0]);
    assert_eq!(segments[3].file_name().expect("a name").to_str(), Some(&*expected));
    assert_eq!(fresh.lost(), seen[0] - 2);
}

#[test]
fn a_log_extends_only_heads_that_it_had() {
    let dir = scene::directory();
    let log = small(dir.path());
    let mut heads = vec![Head::NONE];
    for id in 1..=12 {
        scene::append(&log, [id]);
        heads.push(log.head());
    }
    for head in &heads {
        assert!(log.extends(head).expect("readable"), "{head:?}");
    }
    let last = *heads.last().expect("a head");
    assert!(!log.extends(&Head { sequence: last.sequence + 9, ..last }).expect("readable"));
    assert!(!log.extends(&Head { hash: Hash([7; 32]), ..heads[3] }).expect("readable"));
    log.close();
    // The newest segment is lost, as with a copy of the disk that is older.
    fs::remove_file(scene::segments(dir.path()).last().expect("segments")).expect("removable");
    let log = small(dir.path());
    assert!(!log.extends(&last).expect("readable"));
    assert!(log.extends(&heads[1]).expect("readable"));
}
