//! What Prometheus reads.

use keystead_audit::{Destruction, EventKind};
use prometheus_client::registry::Registry;

use crate::scene;

#[test]
fn p12_destructions_are_counted_by_state_once_they_are_recorded() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    let mut registry = Registry::default();
    log.register_metrics(&mut registry);
    let page = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a string");
        text
    };
    let has = |line: &str| {
        let page = page();
        assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
    };
    // Both from the start, so that an increase is seen.
    has("keystead_key_destructions_total{state=\"scheduled\"} 0");
    has("keystead_key_destructions_total{state=\"destroyed\"} 0");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (kind, step) in [
        (EventKind::AdminWrite, Some(Destruction::Scheduled)),
        (EventKind::AdminWrite, Some(Destruction::Scheduled)),
        (EventKind::System, Some(Destruction::Destroyed)),
        (EventKind::DataRead, None),
    ] {
        let mut event = scene::event("x");
        (event.kind, event.destruction) = (kind, step);
        runtime.block_on(log.append(&event)).expect("written");
    }
    has("keystead_key_destructions_total{state=\"scheduled\"} 2");
    has("keystead_key_destructions_total{state=\"destroyed\"} 1");
    has("keystead_audit_records_total 4");
    has("keystead_audit_failed_total 0");
    has("keystead_audit_state 0");
    has("keystead_audit_reserve_bytes 1048576");
    has("keystead_audit_reserve_used_bytes 0");
    has("keystead_audit_sync_seconds_count 4");
    let log_names: Vec<_> = scene::records(dir.path()).iter().map(|it| it["logName"].to_string()).collect();
    assert!(
        log_names[0].ends_with("%2Factivity\"") && log_names[2].ends_with("%2Fsystem_event\""),
        "{log_names:?}"
    );
    assert!(log_names[3].ends_with("%2Fdata_access\""), "{log_names:?}");
}
