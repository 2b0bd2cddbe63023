//! Row ids in test names: `docs/requirements.md` explains each, and says truly whether there are tests.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

const FILE: &str = "docs/requirements.md";

/// Compares the rows of the document with the names of all tests.
pub fn check() -> Result<()> {
    let path = workspace::root().join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
    let rows = rows(&text);
    let mut tested = BTreeSet::new();
    for file in process::files()?.iter().filter(|it| it.extension().is_some_and(|it| it == "rs")) {
        let text = std::fs::read_to_string(workspace::root().join(file))?;
        for name in text.split("fn ").skip(1) {
            tested.extend(ids(name));
        }
    }
    let problems = problems(&rows, &tested);
    if !problems.is_empty() {
        bail!("requirements:\n  {}", problems.join("\n  "));
    }
    println!("requirements: {} rows, {} with tests", rows.len(), tested.len());
    Ok(())
}

fn problems(rows: &BTreeMap<String, String>, tested: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for id in tested.iter().filter(|id| !rows.contains_key(*id)) {
        problems.push(format!("a test is named after {id}, and {FILE} has no such row"));
    }
    for (id, state) in rows {
        let wants_tests = state == "works" || state.starts_with("partly");
        if wants_tests != tested.contains(id) {
            let are = if wants_tests { "no test is" } else { "tests are" };
            problems.push(format!("{FILE} says of {id} \"{state}\", and {are} named after it"));
        }
    }
    problems
}

/// Id and state of each row, the id as in names of tests.
fn rows(text: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [id, _, state] = cells[..]
            && ids(&format!("{}_", id.to_lowercase())).len() == 1
        {
            rows.insert(id.to_lowercase(), state.trim_end_matches('|').trim().to_owned());
        }
    }
    rows
}

/// The ids with which a name begins.
fn ids(name: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for part in name.split_inclusive('_') {
        let Some(id) = part.strip_suffix('_') else { break };
        let mut letters = id.chars();
        let kind = letters.next().is_some_and(|letter| "kcupa".contains(letter));
        let digits = letters.as_str();
        if !kind || digits.is_empty() || digits.len() > 2 || !digits.chars().all(|it| it.is_ascii_digit()) {
            break;
        }
        ids.push(id.to_owned());
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_the_ids_of_rows() {
        assert_eq!(ids("p11_p20_a_key(…"), ["p11", "p20"]);
        for other in ["v2_status(", "a_key_p4_x(", "p_11_x(", "check(", "p111_x("] {
            assert_eq!(ids(other), [""; 0], "{other}");
        }
    }

    #[test]
    fn a_row_and_its_tests_agree() {
        let rows = rows(
            "| row | what | state |\n|---|---|---|\n| K1 | one | works |\n| K2 | two | to come |\n| K3 | x | partly: y |",
        );
        assert_eq!(rows.len(), 3);
        let tested = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(problems(&rows, &tested(&["k1", "k3"])), [""; 0]);
        assert_eq!(problems(&rows, &tested(&["k1", "k2", "k3"])).len(), 1, "K2 is to come");
        assert_eq!(problems(&rows, &tested(&["k1"])).len(), 1, "K3 has no test");
        assert_eq!(problems(&rows, &tested(&["k1", "k3", "k9"])).len(), 1, "there is no K9");
    }
}
