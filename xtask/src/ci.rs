//! What `.ci/run` runs: every check, every test, and the README's first command. Goes on after a failure, so that one
//! run tells everything.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::{process, test, tidy};

/// Runs `cargo xtask ci`: its last line is the tests' summary.
pub fn run() -> ExitCode {
    let mut steps = Steps::default();
    steps.run("tidy", || tidy::run(&tidy::Args { fix: false }));
    let started = Instant::now();
    let (summary, tested) = test::run_all(false, &[]);
    steps.note("test", tested == ExitCode::SUCCESS, started);
    steps.run("quickstart", || {
        process::run(process::cargo().args(["run", "--quiet", "--release", "--", "quickstart", "--check"]))
    });
    println!("\n{}", steps.lines.join("\n"));
    println!("{summary}");
    if steps.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[derive(Default)]
struct Steps {
    lines: Vec<String>,
    failed: bool,
}

impl Steps {
    fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let started = Instant::now();
        let done = step();
        if let Err(error) = &done {
            eprintln!("error: {error:#}");
        }
        self.note(name, done.is_ok(), started);
    }

    fn note(&mut self, name: &str, ok: bool, started: Instant) {
        let word = if ok { "ok" } else { "FAILED" };
        let seconds = started.elapsed().as_secs();
        self.lines.push(format!("{name}: {word} in {} min {} s", seconds / 60, seconds % 60));
        self.failed |= !ok;
    }
}
