//! Any report of an agent: no panic, and one that is taken is short enough to be kept and shown to people as it is. And whatever hosts
//! said, what becomes of their cluster's task can be said.
#![no_main]

use keystead_model::cluster_host::{HostReport, Reported, is_node_name, versions_fit};
use keystead_model::is_unseen;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|reports: (&[u8], &[u8])| {
    let now = "2026-06-01T12:00:00Z".parse().expect("a time");
    let (before, report) = reports;
    let Ok(report) = serde_json::from_slice::<HostReport>(report) else { return };
    let last = serde_json::from_slice::<HostReport>(before).ok().filter(|it| it.check(None, now).is_ok());
    let last = last.map(|report| Reported { time: now, report });
    versions_fit(&report.agent_version, "0.1.0");
    if report.check(last.as_ref(), now).is_err() {
        return;
    }
    assert!(last.as_ref().is_none_or(|last| last.report.sequence < report.sequence), "it was heard before");
    // 16 key ids of 1 KiB, 32 names of Nodes, two sentences of 2 KiB, three words; twice as long where JSON escapes it.
    assert!(serde_json::to_vec(&report).expect("JSON").len() < 64 << 10);
    let texts =
        [&report.agent_version, &report.api_server_version, &report.configuration_hash, &report.writes];
    assert!(!texts.into_iter().chain(&report.key_ids).any(|text| text.contains(is_unseen)));
    assert!(report.control_plane.iter().all(|node| is_node_name(node)));
    if let Some(last) = last {
        assert!(!report.decides_more_than(&last.report) || report.says_more_than(&last.report));
    }
});
