//! Callers that nobody knows: one record for each source and minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use keystead_audit::{AuditLog, AuditSettings, RefusedCaller};
use serde_json::json;

use crate::scene;

#[test]
fn refusals_are_one_record_for_each_source_and_minute() {
    let dir = scene::directory();
    let start = scene::time().as_second();
    let now = Arc::new(AtomicI64::new(start));
    let clock = {
        let now = Arc::clone(&now);
        Arc::new(move || Timestamp::from_second(now.load(Ordering::Relaxed)).expect("a time"))
    };
    let log = AuditLog::open(dir.path(), AuditSettings { clock, ..scene::settings() }).expect("opens");
    let at = |second| Timestamp::from_second(start + second).expect("a time");
    let source = |last| RefusedCaller::Address([10, 0, 0, last].into());
    for _ in 0..1000 {
        log.count_refusal(source(1), at(1), "no_credential");
    }
    log.count_refusal(source(1), at(59), "expired_token");
    log.count_refusal(source(2), at(60), "no_credential");
    log.count_refusal(RefusedCaller::Principal("ann@example.com".into()), at(61), "malformed");
    now.store(start + 60, Ordering::Relaxed);
    scene::wait_until("the record of the first minute", || log.head().sequence == 1);
    let first = scene::records(dir.path()).remove(0);
    assert_eq!(
        first["jsonPayload"],
        json!({
            "@type": "keystead.audit.Refusals",
            "callerIp": "10.0.0.1",
            "minute": "2026-01-31T12:00:00Z",
            "counts": {"expired_token": 1, "no_credential": 1000},
        })
    );
    assert_eq!(
        (&first["severity"], &first["logName"]),
        (&json!("WARNING"), &json!("keystead/logs/audit_log"))
    );
    // What is left is written at the end.
    log.close();
    let records = scene::records(dir.path());
    assert_eq!(records.len(), 3);
    let payloads: Vec<_> = records[1..].iter().map(|it| &it["jsonPayload"]).collect();
    assert!(payloads.iter().any(|it| it["callerIp"] == "10.0.0.2"), "{payloads:?}");
    let known = |it: &&&serde_json::Value| it["principal"] == "ann@example.com";
    let known = payloads.iter().find(known).expect("a record of ann");
    assert_eq!((&known["counts"], known.get("callerIp")), (&json!({"malformed": 1}), None));
    keystead_audit::verify(dir.path(), None).expect("the chain is good");
}
