//! The file that grows is removed or replaced under the writer: the chain goes on in a file that is there.

use std::fs;
use std::path::Path;

use keystead_audit::{AuditLog, Export, ExportSettings, Head, ProblemKind, Reader, VerifyError, verify};
use prometheus_client::registry::Registry;

use crate::scene;

/// Three records, then something happens to their file, then another record. The head before, and the log after.
fn lose(dir: &Path, log: &AuditLog, lose: impl FnOnce(&Path)) -> Head {
    scene::append(log, 1..=3);
    let head = log.head();
    lose(&scene::segments(dir)[0]);
    let begun = format!("audit-{:020}.jsonl", head.sequence + 1);
    scene::wait_until("a new segment", || dir.join(&begun).exists() && log.head().sequence > head.sequence);
    scene::append(log, [4]);
    head
}

#[test]
fn p8_after_a_segment_was_removed_the_chain_goes_on_in_a_new_one() {
    let dir = scene::directory();
    let copy = dir.path().join("copy.jsonl");
    let mut settings = scene::settings();
    settings.exports = vec![ExportSettings { name: "copy".into(), to: Export::File(copy.clone()) }];
    let log_dir = dir.path().join("log");
    let log = AuditLog::open(&log_dir, settings).expect("opened");
    let mut registry = Registry::default();
    log.register_metrics(&mut registry);
    let head = lose(&log_dir, &log, |segment| fs::remove_file(segment).expect("removed"));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).expect("writing to a string");
    assert!(page.contains("keystead_audit_damaged 1\n"), "{page}");
    scene::wait_until("the export", || {
        fs::read_to_string(&copy).is_ok_and(|it| it.contains("\"sequence\":5,"))
    });
    log.close();

    let records = scene::records(&log_dir);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["previous"], head.hash.to_string(), "the chain goes on");
    let said = &records[0]["jsonPayload"];
    assert_eq!(said["@type"], "keystead.audit.Damaged");
    assert_eq!(said["segment"], "audit-00000000000000000001.jsonl");
    assert_eq!((&said["firstSequence"], &said["through"]), (&1.into(), &3.into()));
    let Err(VerifyError::Problems(found)) = verify(&log_dir, None) else { panic!("the loss is found") };
    assert_eq!(
        found.problems.iter().map(|it| &it.kind).collect::<Vec<_>>(),
        [&ProblemKind::Beheaded { first: 4 }]
    );

    let log = scene::open(&log_dir);
    assert_eq!(log.head().sequence, 5);
    assert!(log.extends(&head).expect("read"), "whoever knows the head before finds a log that goes on");
    scene::append(&log, [6]);
    assert_eq!(Reader::after(&log_dir, 0).next_record().expect("read").expect("a record").sequence, 4);
}

#[test]
fn p8_after_a_segment_was_replaced_the_copy_stays_as_it_is() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    let mut older = Vec::new();
    lose(dir.path(), &log, |segment| {
        let text = fs::read(segment).expect("readable");
        older = text[..=text.iter().position(|it| *it == b'\n').expect("a line")].to_vec();
        fs::remove_file(segment).expect("removed");
        fs::write(segment, &older).expect("written");
    });
    log.close();
    let segments = scene::segments(dir.path());
    assert_eq!(fs::read(&segments[0]).expect("readable"), older);
    assert_eq!(scene::records(dir.path()).len(), 3, "one of the copy, the damage, one after it");
    let log = scene::open(dir.path());
    assert_eq!(log.head().sequence, 5);
    assert_eq!(log.problems().len(), 1, "{:?}", log.problems());
}
