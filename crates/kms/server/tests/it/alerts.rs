//! The alert rules that we ship: well formed, and about metrics that a running server has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::server_process::{BINARY, Place};

const SCHEDULED: &str = "keystead_key_destructions_total{state=\"scheduled\"}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    pending: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[tokio::test]
async fn p12_alert_rules_are_about_metrics_of_a_running_server() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/prometheus/keystead-alerts.yaml");
    let text = std::fs::read_to_string(path).expect("the rules can be read");
    let file: File = serde_saphyr::from_str(&text).expect("YAML of Prometheus' rules");

    let place = Place::new();
    let copy = place.path("copy.jsonl");
    let config = format!("audit:\n  exports:\n    - name: copy\n      file: {}\n", copy.display());
    let config = place.write("config.yaml", config);
    let server = place.start(&["--config", config.to_str().expect("UTF-8")]).await;
    let page = server.text("/metrics").await;
    let metrics: BTreeSet<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();

    let mut alerts = BTreeSet::new();
    for Group { name, rules } in file.groups {
        assert!(!rules.is_empty(), "{name}");
        for Rule { alert, expr, pending, labels, annotations } in rules {
            assert!(alerts.insert(alert.clone()), "{alert} is there twice");
            let named: Vec<&str> = words(&expr).filter(|it| it.starts_with("keystead_")).collect();
            assert!(!named.is_empty(), "{alert} is about no metric");
            for metric in named {
                assert!(metrics.contains(metric), "{alert}: {metric} is not in\n{page}");
            }
            assert!(pending.is_none_or(|it| it.ends_with(['m', 'h'])), "{alert}");
            assert!(["warning", "critical"].contains(&labels["severity"].as_str()), "{alert}");
            assert_eq!(annotations.keys().collect::<Vec<_>>(), ["description", "summary"], "{alert}");
        }
    }
    for wanted in [
        "KeysteadKeyDestructionScheduled",
        "KeysteadKeyDestroyed",
        "KeysteadUnprotected",
        "KeysteadAuditSpaceLow",
        "KeysteadAuditExportBehind",
    ] {
        assert!(alerts.contains(wanted), "{wanted}");
    }
    // The series that the two most important ones wait for are there before anything happens.
    for state in ["scheduled", "destroyed"] {
        let series = format!("keystead_key_destructions_total{{state=\"{state}\"}} 0\n");
        assert!(page.contains(&series), "{page}");
    }
    assert!(page.contains("keystead_server_backup_unprotected 1\n"), "{page}");
    assert_eq!(server.stop().await, 0);
}

/// `KeysteadKeyDestructionScheduled`: the counter moves with each version that is scheduled, and with nothing else.
#[tokio::test]
async fn p12_a_scheduled_destruction_is_counted_on_a_running_server() {
    let place = Place::new();
    let server = KmsServer::start(Path::new(BINARY), &place.path("data")).await.expect("started");
    let key = key_with_one_version(&server).await;
    assert_eq!(value(&server, SCHEDULED).await, 0.0);
    let version = format!("{key}/cryptoKeyVersions/1");
    server.ok(Method::POST, &format!("{version}:destroy"), Some(&json!({}))).await.expect("scheduled");
    assert_eq!(value(&server, SCHEDULED).await, 1.0);
    let (status, answer) =
        server.call(Method::POST, &format!("{version}:destroy"), Some(&json!({}))).await.expect("answered");
    assert_eq!(status, 400, "{answer}");
    assert_eq!(value(&server, SCHEDULED).await, 1.0, "a refusal schedules nothing");
    server.ok(Method::POST, &format!("{version}:restore"), Some(&json!({}))).await.expect("restored");
    server.ok(Method::POST, &format!("{version}:destroy"), Some(&json!({}))).await.expect("scheduled");
    assert_eq!(value(&server, SCHEDULED).await, 2.0);
    assert_eq!(value(&server, "keystead_key_destructions_total{state=\"destroyed\"}").await, 0.0);
}

/// Makes a key whose version 1 is its only one, and gives the key's path.
async fn key_with_one_version(server: &KmsServer) -> String {
    server.create_project("alert-project").await.expect("a project");
    let rings = "/v1/projects/alert-project/locations/global/keyRings";
    server.ok(Method::POST, &format!("{rings}?keyRingId=r"), Some(&json!({}))).await.expect("a ring");
    let keys = format!("{rings}/r/cryptoKeys");
    let key = json!({"purpose": "ENCRYPT_DECRYPT", "destroyScheduledDuration": "86400s"});
    server.ok(Method::POST, &format!("{keys}?cryptoKeyId=k"), Some(&key)).await.expect("a key");
    format!("{keys}/k")
}

/// What one series of a running server shows.
async fn value(server: &KmsServer, series: &str) -> f64 {
    let sent = server.http().get(format!("{}/metrics", server.endpoint())).send().await;
    let page = sent.expect("answered").text().await.expect("text");
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{page}")).parse().expect("a number")
}

fn words(expr: &str) -> impl Iterator<Item = &str> {
    expr.split(|it: char| !it.is_ascii_alphanumeric() && it != '_').filter(|it| !it.is_empty())
}
