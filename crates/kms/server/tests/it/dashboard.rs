//! The dashboard that we ship: each panel says what it shows, and shows what a running server publishes. The plugin's metrics are compared
//! in the plugin's tests.

use std::collections::BTreeSet;
use std::path::Path;

use keystead_testkit::kms_server::KmsServer;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::alerts::{key_with_one_version, shows};
use crate::server_process::{BINARY, Place};
use crate::webhooks::webhook_config;

/// Units by Grafana's names that these panels have.
const UNITS: [&str; 5] = ["short", "s", "reqps", "cps", "percentunit"];

fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/grafana/keystead.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the dashboard")).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Title and expression of each target of each panel.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push((text(&panel["title"]).to_owned(), text(&target["expr"]).to_owned()));
        }
    }
    all
}

fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|it: char| !it.is_ascii_alphanumeric() && it != '_')
}

#[test]
fn each_panel_says_what_it_shows_and_has_a_place_of_its_own() {
    let dashboard = dashboard();
    let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is taken");
        let number =
            |name: &str| panel["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{title}: {name}"));
        let (x, y) = (number("x"), number("y"));
        for cell in (x..x + number("w")).flat_map(|x| (y..y + number("h")).map(move |y| (x, y))) {
            assert!(cell.0 < 24 && cells.insert(cell), "{title} lies over another panel, or outside");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(titles.insert((number("y"), title)) && !title.is_empty(), "{title} is there twice");
        assert!(text(&panel["description"]).ends_with('.'), "{title} is not described");
        let unit = text(&panel["fieldConfig"]["defaults"]["unit"]);
        assert!(UNITS.contains(&unit), "{title} has the unit {unit:?}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title} shows nothing");
        for target in targets {
            let (expression, legend) = (text(&target["expr"]), text(&target["legendFormat"]));
            let variable = if expression.contains("keystead_plugin_") { "$plugin" } else { "$instance" };
            assert!(expression.contains(&format!("instance=~\"{variable}\"")), "{title}: {expression}");
            // What the legend names is left over by the expression.
            for label in legend.split("{{").skip(1).filter_map(|it| it.split("}}").next()) {
                let grouped = expression.split_once(" by (").and_then(|(_, rest)| rest.split_once(')'));
                let kept = grouped.is_none_or(|(labels, _)| labels.split(", ").any(|it| it == label));
                assert!(kept, "{title}: {label} is not left in {expression}");
            }
        }
    }
}

#[tokio::test]
async fn each_panel_is_about_metrics_of_a_running_server() {
    let place = Place::new();
    let copy = place.path("copy.jsonl");
    let config = format!(
        "audit:\n  exports:\n    - name: copy\n      file: {}\n{}",
        copy.display(),
        webhook_config(&place, "ops", "https://localhost:1/")
    );
    let config = place.write("config.yaml", config);
    let more = ["--config", config.to_str().expect("UTF-8")];
    let server = KmsServer::start_with(Path::new(BINARY), &place.path("data"), &more).await.expect("started");
    key_with_one_version(&server).await;
    // A client that speaks no TLS: failures have a series for each reason there was.
    let address = server.endpoint().strip_prefix("https://").expect("an address");
    let mut client = tokio::net::TcpStream::connect(address).await.expect("connected");
    client.write_all(b"220 mail.example.com ESMTP\r\n").await.expect("sent");
    let mut answer = Vec::new();
    // It may be cut off before everything was read.
    drop(client.read_to_end(&mut answer).await);
    shows(&server, "keystead_server_ready", |it| it == 1.0).await;
    let page = server.http().get(format!("{}/metrics", server.endpoint())).send().await.expect("answered");
    let page = page.text().await.expect("text");
    let mut shown = BTreeSet::new();
    for (title, expression) in expressions(&dashboard()) {
        for metric in
            words(&expression).filter(|it| it.starts_with("keystead_") && !it.starts_with("keystead_plugin_"))
        {
            let suffixes = ["_bucket", "_count", "_total"];
            let family = suffixes.iter().find_map(|it| metric.strip_suffix(it)).unwrap_or(metric);
            let kind = match metric.strip_prefix(family) {
                Some("") => "gauge",
                Some("_total") => "counter",
                _ => "histogram",
            };
            assert!(
                page.contains(&format!("# TYPE {family} {kind}\n")),
                "{title}: {metric} is not in\n{page}"
            );
            shown.insert(family.to_owned());
        }
    }
    for wanted in
        ["keystead_key_destructions", "keystead_cluster_hosts", "keystead_cluster_values_under_old_versions"]
    {
        assert!(shown.contains(wanted), "no panel shows {wanted}");
    }
}

/// Prometheus itself takes every expression.
#[test]
#[ignore = "needs promtool"]
fn prometheus_takes_the_expressions_of_the_dashboard() {
    let promtool = std::env::var_os("KEYSTEAD_PROMTOOL").expect("KEYSTEAD_PROMTOOL: cargo xtask test");
    let place = Place::new();
    let expressions = expressions(&dashboard());
    let rule = |(number, (_, expression)): (usize, &(String, String))| {
        let expression =
            expression.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$plugin", ".*");
        serde_json::json!({"record": format!("panel:{number}"), "expr": expression})
    };
    let rules: Vec<Value> = expressions.iter().enumerate().map(rule).collect();
    // JSON is YAML.
    let file = serde_json::json!({"groups": [{"name": "panels", "rules": rules}]});
    let file = place.write("panels.yaml", file.to_string());
    let checked = std::process::Command::new(promtool).args(["check", "rules"]).arg(file).output();
    let checked = checked.expect("promtool runs");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success() && said.contains(&format!("{} rules found", expressions.len())),
        "{checked:?}"
    );
}
