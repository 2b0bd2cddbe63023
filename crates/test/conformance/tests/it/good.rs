//! The good model passes everything.

use std::time::Duration;

use keystead_conformance::{Kms, Socket, Verdict, checks, select};

use crate::fault::Fault;
use crate::process::{Reaper, hooks};
use crate::serve::Served;
use crate::{check, ids, options, with_hooks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_plugin_passes() {
    let plugin = Served::new(Fault::None, Duration::from_secs(1));
    let peer = Served::beside(&plugin.dir, "peer.sock", Fault::None, Duration::from_secs(1));
    let mut options = with_hooks(options(&plugin.socket), &plugin.dir);
    options.peer = Some(Socket::Path(peer.socket.clone()));
    options.idle = Some(Duration::from_millis(300));
    options.kms = Some(Kms::Both);
    let report = check(&options).await;
    assert!(ids(&report, Verdict::Fail).is_empty(), "{report}");
    assert!(ids(&report, Verdict::Warn).is_empty(), "{report}");
    // Without annotations and without hooks to kill it these cannot be tried.
    let skipped = ids(&report, Verdict::Skip);
    let expected = [
        "restart-socket-kept",
        "restart-stale-socket",
        "v1-restart-old-ciphertext",
        "v2-decrypt-altered-annotations",
        "v2-decrypt-missing-annotations",
        "v2-restart-key-id",
        "v2-restart-old-ciphertext",
        "v2-restart-version",
    ];
    assert_eq!(skipped, expected.into(), "{report}");
    assert_eq!(report.summary.fail, 0);
    assert_eq!(report.findings.len(), checks().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_plugin_with_annotations_passes() {
    let plugin = Served::new(Fault::Annotated, Duration::from_secs(1));
    let report = check(&options(&plugin.socket)).await;
    assert!(ids(&report, Verdict::Fail).is_empty(), "{report}");
    assert!(ids(&report, Verdict::Warn).is_empty(), "{report}");
    assert!(!ids(&report, Verdict::Skip).contains("v2-decrypt-altered-annotations"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_plugin_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let _reaper = Reaper(dir.path().to_owned());
    let mut options = options(&dir.path().join("kms.sock"));
    let (start, kill) = hooks(dir.path(), Fault::None);
    assert!(std::process::Command::new("sh").args(["-c", &start]).status().unwrap().success());
    crate::broken::until_served(&options).await;
    (options.hooks.start, options.hooks.kill) = (Some(start), Some(kill));
    let report = check(&options).await;
    assert!(ids(&report, Verdict::Fail).is_empty(), "{report}");
    for id in ["restart-stale-socket", "v2-restart-key-id", "v1-restart-old-ciphertext"] {
        assert!(ids(&report, Verdict::Pass).contains(id), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_served_is_skipped_unless_asked_for() {
    for (fault, served, missing) in
        [(Fault::OnlyV1, "v1-served", "v2-served"), (Fault::OnlyV2, "v2-served", "v1-served")]
    {
        let plugin = Served::new(fault, Duration::from_secs(1));
        let mut options = options(&plugin.socket);
        let report = check(&options).await;
        assert!(ids(&report, Verdict::Fail).is_empty(), "{report}");
        assert!(ids(&report, Verdict::Pass).contains(served), "{report}");
        assert!(ids(&report, Verdict::Skip).contains(missing), "{report}");
        options.kms = Some(Kms::Both);
        assert_eq!(ids(&check(&options).await, Verdict::Fail), [missing].into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let report = check(&options(&dir.path().join("none.sock"))).await;
    let fails = ["socket-answers", "socket-type", "v1-served", "v2-served"];
    assert_eq!(ids(&report, Verdict::Fail), fails.into(), "{report}");
    assert!(ids(&report, Verdict::Pass).is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_is_a_failure() {
    let plugin = Served::new(Fault::None, Duration::from_secs(1));
    let mut options = options(&plugin.socket);
    options.hooks.rotate = Some("echo no such key >&2; exit 3".to_owned());
    options.only = select("v2-rotate-key-id").unwrap();
    let report = check(&options).await;
    assert_eq!(ids(&report, Verdict::Fail), ["v2-rotate-key-id"].into());
    assert!(report.findings[0].came.contains("no such key"), "{report}");
}

#[test]
fn ids_are_unique_and_selectable() {
    let all: Vec<_> = checks().map(|it| it.id).collect();
    for id in &all {
        assert_eq!(all.iter().filter(|it| *it == id).count(), 1, "{id}");
        assert_eq!(select(id).unwrap().len(), 1, "{id}");
    }
    assert_eq!(
        select("v2-rotate").unwrap().len(),
        all.iter().filter(|it| it.starts_with("v2-rotate-")).count()
    );
    assert!(select("v2-rot").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_form_is_stable() {
    let plugin = Served::new(Fault::StatusVersion, Duration::from_secs(1));
    let mut options = options(&plugin.socket);
    options.only = select("v2-status-version").unwrap();
    let mut json = serde_json::to_value(check(&options).await).unwrap();
    json["socket"] = "S".into();
    json["findings"][0]["milliseconds"] = 0.into();
    let expected = serde_json::json!({
        "schema": 1,
        "socket": "S",
        "serves": ["v1", "v2"],
        "summary": {"pass": 0, "fail": 1, "warn": 0, "skip": 0},
        "findings": [{
            "id": "v2-status-version",
            "title": "Status: version",
            "verdict": "fail",
            "expected": "`v2` or `v2beta1`",
            "came": "`v3`",
            "why": "with any other version API servers are not ready",
            "milliseconds": 0,
        }],
    });
    assert_eq!(json, expected);
}
