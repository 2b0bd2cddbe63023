//! `keystead audit`, on logs that the library wrote.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use keystead_audit::{AuditLog, AuditSettings, Event, EventKind, HeadSigner};

use crate::{keystead, stderr, stdout};

fn append(log: &AuditLog, ids: std::ops::RangeInclusive<u32>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for id in ids {
        let time = "2026-01-31T12:00:00Z".parse().expect("a time");
        let event = Event {
            principal: Some("ann@example.com".into()),
            ..Event::new(
                format!("id-{id}"),
                time,
                "cloudkms.googleapis.com",
                "Encrypt",
                "projects/p-one",
                EventKind::DataRead,
            )
        };
        runtime.block_on(log.append(&event)).expect("written");
    }
}

fn open(dir: &Path) -> AuditLog {
    AuditLog::open(dir, AuditSettings { reserve_bytes: 0, ..AuditSettings::default() }).expect("opens")
}

#[test]
fn verify_says_what_is_there_and_ends_with_6_when_it_is_not_what_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let log_dir = dir.path().join("log");
    let log = open(&log_dir);
    append(&log, 1..=5);
    let signer = HeadSigner::from_pkcs8(&HeadSigner::generate().expect("a key")).expect("its own form");
    let (head, key) = (dir.path().join("head"), dir.path().join("key.pem"));
    fs::write(&head, signer.sign(&log.head()).to_string()).expect("writable");
    fs::write(&key, signer.public_key().to_string()).expect("writable");
    append(&log, 6..=7);
    let newest = log.head();
    log.close();
    let verify = |rest: &[&std::ffi::OsStr]| {
        let output = keystead().args(["audit", "verify"]).arg(&log_dir).args(rest).output().expect("runs");
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let with_head =
        [std::ffi::OsStr::new("--head"), head.as_os_str(), "--public-key".as_ref(), key.as_os_str()];

    let (code, out, err) = verify(&with_head);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("good: 7 records, 1 to 7, in 1 segments"), "{out}");
    assert!(
        out.contains(&format!("head: 7 {} ", newest.hash)) && out.contains("kept head: 5 is in the log"),
        "{out}"
    );
    let (code, out, _) = verify(&["--format".as_ref(), "json".as_ref()]);
    let object: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &object["records"], &object["last"]), (Some(0), &7.into(), &7.into()));

    let segment = log_dir.join("audit-00000000000000000001.jsonl");
    let good = fs::read_to_string(&segment).expect("readable");
    fs::write(&segment, good.replacen("ann@", "bob@", 3)).expect("writable");
    let (code, _, err) = verify(&[]);
    assert_eq!(code, Some(6), "{err}");
    for line in 1..=3 {
        assert!(err.contains(&format!("caused by: {}:{line}: ", segment.display())), "{err}");
    }
    assert!(err.contains("3 problems; 4 records are good"), "{err}");
    let cut: String = good.split_inclusive('\n').take(4).collect();
    fs::write(&segment, cut).expect("writable");
    assert_eq!(verify(&[]).0, Some(0), "without a head nobody can know");
    let (code, _, err) = verify(&with_head);
    assert_eq!(code, Some(6), "{err}");
    assert!(err.contains("cut off"), "{err}");
    fs::write(&segment, good).expect("writable");

    let text = fs::read_to_string(&head).expect("readable");
    fs::write(&head, text.replace("sequence 5", "sequence 4")).expect("writable");
    let (code, _, err) = verify(&with_head);
    assert_eq!(code, Some(6), "{err}");
    fs::write(&head, "nothing").expect("writable");
    assert_eq!(verify(&with_head).0, Some(2));
    let empty = keystead().args(["audit", "verify"]).arg(dir.path()).output().expect("runs");
    assert_eq!(empty.status.code(), Some(1), "{}", stderr(&empty));
}

#[test]
fn tail_shows_the_newest_and_follows() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path());
    append(&log, 1..=20);
    let shown = keystead().args(["audit", "tail", "-n", "3"]).arg(dir.path()).output().expect("runs");
    assert!(shown.status.success(), "{}", stderr(&shown));
    let line =
        "2026-01-31T12:00:00Z                ok Encrypt                    ann@example.com projects/p-one\n";
    assert_eq!(stdout(&shown), line.repeat(3));

    let mut child = keystead()
        .args(["audit", "tail", "--follow", "--format", "json", "-n", "1"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || -> serde_json::Value {
        serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON")
    };
    assert_eq!(next()["insertId"], "id-20");
    append(&log, 21..=22);
    assert_eq!((next()["insertId"].clone(), next()["sequence"].clone()), ("id-21".into(), 22.into()));
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");

    log.close();
    let segment = dir.path().join("audit-00000000000000000001.jsonl");
    let good = fs::read_to_string(&segment).expect("readable");
    fs::write(&segment, good.replacen("id-21", "id-12", 1)).expect("writable");
    let shown = keystead().args(["audit", "tail", "-n", "3"]).arg(dir.path()).output().expect("runs");
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert_eq!(stdout(&shown), line.repeat(2));
    assert!(stderr(&shown).contains(&format!("warning: {}:21: ", segment.display())), "{}", stderr(&shown));
}
