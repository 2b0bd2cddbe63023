//! `keystead doctor`: each fault is made for real, found by its id, and gone after its advice was followed to the letter.
//!
//! Faults that are only in files are in `files.rs`, those of a running control plane in `live.rs`.

#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod files;
mod host;
mod live;

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::{keystead, stderr, stdout, systemd_host};

/// What one run said.
struct Told {
    report: Value,
    code: Option<i32>,
    stderr: String,
}

/// One finding.
#[derive(Debug)]
struct Finding {
    severity: String,
    evidence: String,
    advice: String,
}

impl Told {
    fn of(mut command: Command) -> Self {
        let output = command.args(["--format", "json"]).output().expect("runs");
        let report = serde_json::from_str(&stdout(&output));
        let report = report.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        Self { report, code: output.status.code(), stderr: stderr(&output) }
    }

    fn check(&self, id: &str) -> &Value {
        let mut checks = self.report["checks"].as_array().expect("checks").iter();
        checks.find(|it| it["id"] == id).unwrap_or_else(|| panic!("no check {id}"))
    }

    fn findings(&self, id: &str) -> Vec<Finding> {
        let word = |it: &Value, key: &str| it[key].as_str().expect(key).to_owned();
        let findings = self.check(id)["findings"].as_array().expect("findings").iter();
        let finding = |it| Finding {
            severity: word(it, "severity"),
            evidence: word(it, "evidence"),
            advice: word(it, "advice"),
        };
        findings.map(finding).collect()
    }

    fn state(&self, id: &str) -> &str {
        self.check(id)["state"].as_str().expect("a state")
    }

    /// Ids of everything that was found.
    fn found(&self) -> BTreeSet<&str> {
        let checks = self.report["checks"].as_array().expect("checks").iter();
        let found = checks.filter(|it| !it["findings"].as_array().expect("findings").is_empty());
        found.map(|it| it["id"].as_str().expect("an id")).collect()
    }
}

/// Runs the commands of an advice, which stand between backquotes.
fn follow(advice: &str, path: &str) {
    let commands: Vec<&str> = advice.split('`').skip(1).step_by(2).collect();
    assert!(!commands.is_empty(), "there is no command in: {advice}");
    for text in commands {
        let output = Command::new("sh").args(["-ec", text]).env("PATH", path).output().expect("runs");
        assert!(output.status.success(), "{text}: {}{}", stdout(&output), stderr(&output));
    }
}

fn listed() -> BTreeSet<String> {
    let output = keystead().args(["doctor", "--list", "--format", "json"]).output().expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ids = list["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["id"].as_str().expect("an id").to_owned());
    ids.collect()
}

/// A check without a test that makes its fault is not there.
#[test]
fn every_check_has_a_test() {
    let files = files::FAULTS.iter().map(|it| it.id).chain([files::TOKEN_ENDS]);
    let tested: BTreeSet<String> =
        files.chain(live::FAULTS).chain([systemd_host::FAULT]).map(str::to_owned).collect();
    assert_eq!(tested, listed());
}

/// The guide has one row for each check, in the order of the list.
#[test]
fn the_guide_explains_every_check() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/doctor.md");
    let text = std::fs::read_to_string(guide).expect("the guide");
    let rows = text.lines().filter_map(|it| it.strip_prefix("| `")?.split('`').next());
    let explained: Vec<&str> = rows.collect();
    let output = keystead().args(["doctor", "--list", "--format", "json"]).output().expect("runs");
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let listed: Vec<&str> = list["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(explained, listed);
}
