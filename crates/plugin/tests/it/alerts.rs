//! The alert rules that we ship: well formed, about metrics that a running plugin has, and each with a test that moves its
//! metric as far as the rule waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use keystead_proto::kms_v2::DecryptRequest;
use serde::Deserialize;

use crate::plugin_in_process::Served;
use crate::plugin_process::clients;

/// Every rule, and the test that moves its metric as far as the rule waits for: the file and the function.
const SHOWN_BY: [(&str, &str, &str); 6] = [
    (
        "KeysteadPluginSocketLost",
        "readiness.rs",
        "a_socket_that_clients_cannot_reach_is_told_and_made_anew_when_its_place_is_free",
    ),
    (
        "KeysteadPluginSocketReplaced",
        "readiness.rs",
        "a_socket_that_clients_cannot_reach_is_told_and_made_anew_when_its_place_is_free",
    ),
    (
        "KeysteadPluginLogLinesDropped",
        "log_reader.rs",
        "a_log_that_nobody_reads_holds_up_neither_calls_nor_the_end",
    ),
    (
        "KeysteadPluginKeyRefused",
        "readiness.rs",
        "a_key_file_that_a_start_would_not_find_is_told_and_the_last_good_one_goes_on",
    ),
    (
        "KeysteadPluginCredentialsRefused",
        "key_service/serving.rs",
        "credentials_that_a_start_would_not_find_are_told_and_the_last_good_ones_go_on",
    ),
    (
        "KeysteadPluginKeysLost",
        "key_service/restored.rs",
        "a_service_that_was_restored_and_rotated_again_has_another_key_under_the_id_in_use",
    ),
];

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_rule_is_about_metrics_of_a_running_plugin_and_has_a_test_that_moves_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../../deploy/prometheus/keystead-plugin-alerts.yaml");
    let text = std::fs::read_to_string(path).expect("the rules can be read");
    let file: File = serde_saphyr::from_str(&text).expect("YAML of Prometheus' rules");
    let served = Served::ready().await;

    let mut shown_by = BTreeMap::from(SHOWN_BY.map(|(alert, file, test)| (alert, (file, test))));
    let mut alerts = BTreeSet::new();
    for Group { name, rules } in file.groups {
        assert!(!rules.is_empty(), "{name}");
        for Rule { alert, expr, pending, labels, annotations } in rules {
            assert!(alerts.insert(alert.clone()), "{alert} is there twice");
            assert!(pending.is_none_or(|it| it.ends_with(['m', 'h'])), "{alert}");
            assert!(["warning", "critical"].contains(&labels["severity"].as_str()), "{alert}");
            assert_eq!(annotations.keys().collect::<Vec<_>>(), ["description", "summary"], "{alert}");
            let words = expr.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
            let metrics: Vec<&str> = words.filter(|it| it.starts_with("keystead_")).collect();
            assert!(!metrics.is_empty(), "{alert} is about no metric");

            let (file, test) =
                shown_by.remove(alert.as_str()).unwrap_or_else(|| panic!("{alert} has no test"));
            let source = std::fs::read_to_string(root.join("tests/it").join(file)).expect(file);
            assert!(source.contains(&format!("fn {test}()")), "{alert}: {file} has no test {test}");
            // What a step from 0 to 1 fires, which is what those tests see.
            assert!(expr.ends_with(" == 1") || expr.ends_with(" > 0"), "{alert}: {expr}");
            for metric in metrics {
                assert_eq!(served.metric(metric), 0.0, "{alert}: at rest before anything happens");
                assert!(source.contains(metric), "{alert}: {file} never looks at {metric}");
            }
        }
    }
    assert!(shown_by.is_empty(), "no rules: {shown_by:?}");
    served.stop().await;
}

/// The panels about the plugin, in the dashboard that a test of the server judges as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_is_about_metrics_of_a_running_plugin() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana/keystead.json");
    let dashboard = std::fs::read_to_string(path).expect("the dashboard can be read");
    let served = Served::ready().await;
    // Failures have a series for each class there was.
    let (_, mut v2) = clients(&served.socket()).await;
    assert!(v2.decrypt(DecryptRequest::default()).await.is_err());
    let (_, page) = served.get("/metrics");
    let words = dashboard.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let named: BTreeSet<&str> = words.filter(|it| it.starts_with("keystead_plugin_")).collect();
    assert!(named.len() > 8, "{named:?}");
    for metric in named {
        let suffixes = ["_bucket", "_count", "_total"];
        let family = suffixes.iter().find_map(|it| metric.strip_suffix(it)).unwrap_or(metric);
        let kind = match metric.strip_prefix(family) {
            Some("") => "gauge",
            Some("_total") => "counter",
            _ => "histogram",
        };
        assert!(page.contains(&format!("# TYPE {family} {kind}\n")), "{metric} is not in\n{page}");
    }
    served.stop().await;
}
