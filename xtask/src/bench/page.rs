//! The section of docs/benchmarks.md that one command owns.

use anyhow::{Context, Result};
use serde_json::Value;

/// What `keystead plugin bench` does not measure: a program before it serves.
pub struct Program {
    pub name: &'static str,
    pub ready_ms: f64,
    pub idle_kib: u64,
    pub bytes: u64,
}

/// `page` with what stands between the markers of `command` replaced, or with a new section at its end.
pub fn replace(page: &str, command: &str, section: &str) -> String {
    let (begin, end) = (format!("<!-- begin: {command} -->"), format!("<!-- end: {command} -->"));
    let section = format!("{begin}\n\n{}\n\n{end}", section.trim());
    match (page.find(&begin), page.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{section}{}", &page[..from], &page[to + end.len()..])
        }
        _ => format!("{}\n\n{section}\n", page.trim_end()),
    }
}

/// Tables from the JSON report of `keystead plugin bench`; each target is beside the last one.
pub fn section(machine: &str, report: &Value, programs: &[Program]) -> Result<String> {
    let targets = names(report).context("the report names no targets")?;
    let last = targets.last().context("the report names no targets")?;
    let mut text = format!("{machine}\n\nCalls per second, and as a part of {last} in brackets.\n\n");
    let rate = |cell: &Value, beside: &Value| {
        let (rate, limit) = (cell["rate"].as_f64()?, beside["rate"].as_f64()?);
        let part = if cell["target"] == beside["target"] {
            String::new()
        } else {
            format!(" ({:.0} %)", rate / limit * 100.0)
        };
        Some(format!("{rate:.0}{part}"))
    };
    text.push_str(&table(report, &targets, rate).context("a cell of the report is missing")?);
    text.push_str("\nLatency in microseconds: half of the calls within, 99 of 100 within.\n\n");
    let latency = |cell: &Value, _: &Value| {
        Some(format!("{:.0} / {:.0}", cell["p50_us"].as_f64()?, cell["p99_us"].as_f64()?))
    };
    text.push_str(&table(report, &targets, latency).context("a cell of the report is missing")?);
    text.push_str("\nCPU time of the plugin for each call, in microseconds.\n\n");
    let cpu = |cell: &Value, _: &Value| {
        Some(cell["cpu_us"].as_f64().map_or("-".to_owned(), |it| format!("{it:.1}")))
    };
    text.push_str(&table(report, &targets, cpu).context("a cell of the report is missing")?);
    text.push_str(
        "\n| program | start to socket, ms | resident idle, KiB | after the load | peak | binary, bytes |\n",
    );
    text.push_str("|---|---:|---:|---:|---:|---:|\n");
    for target in report["targets"].as_array().into_iter().flatten() {
        let program = programs.iter().find(|it| target["name"] == it.name);
        let ready = program.map_or("-".to_owned(), |it| format!("{:.1}", it.ready_ms));
        let idle = program.map_or("-".to_owned(), |it| it.idle_kib.to_string());
        let bytes = program.map_or("-".to_owned(), |it| it.bytes.to_string());
        let (resident, peak) = (&target["resident_kib"], &target["peak_resident_kib"]);
        text.push_str(&format!(
            "| {} | {ready} | {idle} | {resident} | {peak} | {bytes} |\n",
            target["name"].as_str().unwrap_or("?")
        ));
    }
    Ok(text)
}

fn names(report: &Value) -> Option<Vec<&str>> {
    report["targets"].as_array()?.iter().map(|it| it["name"].as_str()).collect()
}

/// One row for each operation and number of clients, one column for each target; `show` gets a cell and the last
/// target's cell beside it.
fn table(
    report: &Value,
    targets: &[&str],
    show: impl Fn(&Value, &Value) -> Option<String>,
) -> Option<String> {
    let cells = report["cells"].as_array()?;
    let last = targets.last()?;
    let mut text = format!(
        "| operation | clients | {} |\n|---|---:|{}\n",
        targets.join(" | "),
        "---:|".repeat(targets.len())
    );
    for row in cells.iter().filter(|it| it["target"] == *last) {
        let same = |it: &&Value, target: &str| {
            it["target"] == target && it["operation"] == row["operation"] && it["clients"] == row["clients"]
        };
        text.push_str(&format!("| {} | {} |", row["operation"].as_str()?, row["clients"]));
        for target in targets {
            text.push_str(&format!(" {} |", show(cells.iter().find(|it| same(it, target))?, row)?));
        }
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        let cell = |target: &str, rate: f64, cpu: Value| {
            json!({"target": target, "operation": "encrypt", "clients": 8, "rate": rate, "p50_us": 10.0,
                   "p99_us": 20.4, "cpu_us": cpu})
        };
        json!({
            "targets": [{"name": "ours", "resident_kib": 5000, "peak_resident_kib": 6000},
                        {"name": "bare", "resident_kib": 4000, "peak_resident_kib": 4100}],
            "cells": [cell("ours", 950.0, json!(12.34)), cell("bare", 1000.0, Value::Null)],
        })
    }

    #[test]
    fn each_target_stands_beside_the_last() {
        let programs = [Program { name: "ours", ready_ms: 3.21, idle_kib: 3500, bytes: 42 }];
        let text = section("machine", &report(), &programs).expect("complete");
        assert!(text.contains("| encrypt | 8 | 950 (95 %) | 1000 |"), "{text}");
        assert!(text.contains("| encrypt | 8 | 10 / 20 | 10 / 20 |"), "{text}");
        assert!(text.contains("| encrypt | 8 | 12.3 | - |"), "{text}");
        assert!(text.contains("| ours | 3.2 | 3500 | 5000 | 6000 | 42 |"), "{text}");
        assert!(text.contains("| bare | - | - | 4000 | 4100 | - |"), "{text}");
    }

    #[test]
    fn a_missing_cell_is_an_error() {
        let mut report = report();
        report["cells"].as_array_mut().expect("cells").remove(0);
        assert!(section("machine", &report, &[]).is_err());
    }

    #[test]
    fn only_the_own_section_changes() {
        let page = "# Benchmarks\n\n<!-- begin: a -->\nold\n<!-- end: a -->\n\nhand-written\n";
        let expected = "# Benchmarks\n\n<!-- begin: a -->\n\nnew\n\n<!-- end: a -->\n\nhand-written\n";
        assert_eq!(replace(page, "a", "new"), expected);
        assert_eq!(replace("# B\n", "a", "new"), "# B\n\n<!-- begin: a -->\n\nnew\n\n<!-- end: a -->\n");
    }
}
