//! Runs a test program, shows what it prints while it runs, and reads the result out of that.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

#[derive(Debug, Default)]
pub struct Outcome {
    pub passed: usize,
    pub failed: usize,
    pub ignored: Vec<Ignored>,
    pub took: Duration,
    /// How many `test result:` lines there were: one for each program, one for each crate with documentation tests.
    summaries: usize,
}

/// A test marked `#[ignore = "reason"]` that was not run.
#[derive(Debug, PartialEq)]
pub struct Ignored {
    pub name: String,
    pub reason: String,
}

/// Runs `command` to its end and copies what it prints to `shown`. A program that dies, or fails without naming a
/// test, counts as one failed test.
pub fn stream(command: &mut Command, shown: &mut dyn Write) -> Result<Outcome> {
    let started = Instant::now();
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut outcome = Outcome::default();
    let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        shown.write_all(&line)?;
        outcome.read(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    let status = child.wait()?;
    outcome.took = started.elapsed();
    if outcome.failed == 0 && (!status.success() || outcome.summaries == 0) {
        eprintln!("error: {command:?} ended with {status} and {} summaries", outcome.summaries);
        outcome.failed = 1;
    }
    Ok(outcome)
}

impl Outcome {
    pub fn add(&mut self, other: Outcome) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored.extend(other.ignored);
        self.took += other.took;
    }

    pub fn is_empty(&self) -> bool {
        self.passed + self.failed + self.ignored.len() == 0
    }

    fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.summaries += 1;
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
        } else if let Some((name, reason)) =
            line.strip_prefix("test ").and_then(|it| it.split_once(" ... ignored"))
        {
            let reason = reason.trim_start_matches(", ");
            self.ignored.push(Ignored { name: name.to_owned(), reason: reason.to_owned() });
        }
    }
}

/// The number before `word` in `ok. 3 passed; 0 failed; 1 ignored; ...`.
fn count(result: &str, word: &str) -> usize {
    let words: Vec<&str> = result.split([' ', ';']).collect();
    let number = words.windows(2).find(|it| it[1] == word).map(|it| it[0]);
    number.and_then(|it| it.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Outcome {
        stream(Command::new("sh").args(["-c", script]), &mut std::io::sink()).expect("sh starts")
    }

    #[test]
    fn counts_come_from_the_summary_line() {
        let outcome = shell(
            "echo 'test a ... ok'
            echo 'test b ... ignored, needs control-plane'
            echo 'test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s'",
        );
        assert_eq!((outcome.passed, outcome.failed), (12, 0));
        let ignored = Ignored { name: "b".into(), reason: "needs control-plane".into() };
        assert_eq!(outcome.ignored, [ignored]);
    }

    #[test]
    fn a_program_that_dies_has_failed() {
        assert_eq!(shell("echo 'test a ... ok'; exit 0").failed, 1);
        assert_eq!(shell("echo 'test result: ok. 1 passed; 0 failed; 0 ignored'; exit 3").failed, 1);
        assert_eq!(shell("kill -9 $$").failed, 1);
    }

    #[test]
    fn failures_are_counted_once() {
        let outcome = shell("echo 'test result: FAILED. 1 passed; 2 failed; 0 ignored'; exit 101");
        assert_eq!((outcome.passed, outcome.failed), (1, 2));
    }
}
