//! What a record looks like, byte for byte.

use std::process::{Command, Stdio};
use std::{fs, io::Write};

use keystead_audit::{Checked, Destruction, Event, EventKind, SafeFields, Status};

use crate::scene;

/// Written by hand; its hash by `head -c -76 FILE | sha256sum`.
const GOLDEN: &str = concat!(
    r#"{"sequence":1,"previous":"0000000000000000000000000000000000000000000000000000000000000000","#,
    r#""logName":"projects/p-one/logs/cloudaudit.googleapis.com%2Factivity","timestamp":"2026-01-31T12:00:00.5Z","#,
    r#""severity":"ERROR","insertId":"id-1","labels":{"keystead/destruction":"scheduled"},"#,
    r#""resource":{"type":"cloudkms_cryptokeyversion","labels":{"project_id":"p-one","location":"global","#,
    r#""key_ring_id":"r","crypto_key_id":"k","crypto_key_version_id":"2"}},"#,
    r#""protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","#,
    r#""serviceName":"cloudkms.googleapis.com","methodName":"DestroyCryptoKeyVersion","#,
    r#""resourceName":"projects/p-one/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/2","#,
    r#""authenticationInfo":{"principalEmail":"ann@example.com","credentialId":"ks_token_1"},"#,
    r#""authorizationInfo":[{"permission":"cloudkms.cryptoKeyVersions.destroy","granted":false,"#,
    r#""resource":"projects/p-one/locations/global/keyRings/r/cryptoKeys/k"}],"#,
    r#""requestMetadata":{"callerIp":"10.0.0.9","callerSuppliedUserAgent":"gcloud \"x\"\n","#,
    r#""requestAttributes":{"id":"req-7"}},"#,
    r#""request":{"name":"n","plaintextBytes":32,"verify":true,"fields":["a","b"]},"#,
    r#""response":{"state":"DESTROY_SCHEDULED"},"status":{"code":7,"message":"no"}},"#,
    r#""hash":"HASH"}"#,
);

fn golden_event() -> Event {
    Event {
        principal: Some("ann@example.com".into()),
        credential: Some("ks_token_1".into()),
        permissions: vec![Checked {
            permission: "cloudkms.cryptoKeyVersions.destroy".into(),
            granted: false,
            resource: scene::KEY.into(),
        }],
        caller_ip: Some("10.0.0.9".parse().expect("an address")),
        user_agent: Some("gcloud \"x\"\n".into()),
        request_id: Some("req-7".into()),
        request: SafeFields::new()
            .with("name", "n")
            .with("plaintextBytes", 32)
            .with("verify", true)
            .with("fields", vec!["a".to_owned(), "b".to_owned()]),
        response: SafeFields::new().with("state", "DESTROY_SCHEDULED"),
        status: Some(Status { code: 7, message: "no".into() }),
        destruction: Some(Destruction::Scheduled),
        ..Event::new(
            "id-1",
            scene::time(),
            "cloudkms.googleapis.com",
            "DestroyCryptoKeyVersion",
            format!("{}/cryptoKeyVersions/2", scene::KEY),
            EventKind::AdminWrite,
        )
    }
}

#[tokio::test]
async fn a_record_has_the_bytes_that_were_written_by_hand() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    log.append(&golden_event()).await.expect("the record is written");
    log.close();

    let text = fs::read_to_string(&scene::segments(dir.path())[0]).expect("the segment can be read");
    let covered = GOLDEN.strip_suffix(r#","hash":"HASH"}"#).expect("a hash is last");
    assert_eq!(text, format!("{}\n", GOLDEN.replace("HASH", &sha256sum(covered.as_bytes()))));
}

#[test]
fn the_chain_can_be_followed_with_sha256sum() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=3);
    let head = log.head();
    log.close();

    let text = fs::read_to_string(&scene::segments(dir.path())[0]).expect("the segment can be read");
    let mut previous = "0".repeat(64);
    for (line, sequence) in text.split_inclusive('\n').zip(1..) {
        let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(record["sequence"], sequence);
        assert_eq!(record["previous"], previous);
        previous = sha256sum(&line.as_bytes()[..line.len() - 76]);
        assert_eq!(record["hash"], previous);
    }
    assert_eq!((head.sequence, head.hash.to_string()), (3, previous));
}

#[test]
fn what_a_caller_sends_cannot_leave_its_line_or_grow_without_end() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut event = scene::event("x");
    event.resource = "a\n{\"sequence\":9}\u{0}".repeat(100_000);
    event.user_agent = Some("\",\"insertId\":\"forged\"".repeat(100_000));
    event.method = "\u{7f}\u{2028}".repeat(100_000).into();
    event.principal = Some("p".repeat(1_000_000));
    event.request = SafeFields::new().with("name", "n".repeat(1_000_000));
    runtime.block_on(log.append(&event)).expect("the record is written");
    assert!(log.contained(&["forged"], 0).expect("the log can be read").is_empty());
    log.close();
    let records = scene::records(dir.path());
    assert_eq!(records.len(), 1);
    let bytes = fs::metadata(&scene::segments(dir.path())[0]).expect("a segment").len();
    assert!(bytes < 16_000, "{bytes}");
}

fn sha256sum(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum is everywhere");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("text").chars().take(64).collect()
}

#[test]
fn fields_without_end_are_named_by_their_digest() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut event = scene::event("1");
    for _ in 0..1000 {
        event.request.add("x", "y".repeat(1000));
    }
    runtime.block_on(log.append(&event)).expect("the record is written");
    log.close();
    let text = fs::read_to_string(&scene::segments(dir.path())[0]).expect("a segment");
    assert!(text.trim_end_matches('\0').len() < 16_000);
    assert!(text.contains(r#""request":{"omittedFields":1000,"sha256":""#), "{text}");
}

#[test]
fn whatever_a_caller_sends_a_line_stays_short_and_says_what_is_left_out() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let texts = ["\u{1}", "\"", "\\", "\u{7f}", "\u{e9}", "\u{10ffff}", "x"];
    for (number, text) in texts.into_iter().enumerate() {
        let long = text.repeat(10_000);
        let names = || vec![long.clone(); 300];
        let mut event = scene::event(number.to_string());
        event.resource.clone_from(&long);
        event.user_agent = Some(long.clone());
        event.principal = Some(long.clone());
        event.credential = Some(long.clone());
        event.request_id = Some(long.clone());
        let two = || SafeFields::new().with("a", names()).with("b", long.as_str()).with("c", names());
        event.request = two();
        event.response = SafeFields::new().with("inner", two()).with("state", "ENABLED");
        runtime.block_on(log.append(&event)).expect("the record is written");
    }
    assert_eq!(log.contained(&["0", "6"], 0).expect("can be read").len(), 2);
    log.close();
    let text = fs::read_to_string(&scene::segments(dir.path())[0]).expect("a segment");
    let lines: Vec<&str> = text.trim_end_matches('\0').lines().collect();
    assert_eq!(lines.len(), texts.len());
    for line in lines {
        assert!(line.len() < 400 * 1024, "{}", line.len());
        assert!(line.contains(r#""a":{"omittedCount":300,"sha256":""#), "what is left out is named");
        assert!(line.contains(r#""state":"ENABLED""#), "and nothing else is left out");
    }
    scene::open(dir.path()).close();
}
