//! What `.ci/run` runs: every check, every test, what the README's first command runs, and that the fuzz targets compile. Goes on
//! after a failure, so that one run tells everything.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::test::{self, Reach};
use crate::{date, process, tidy, workspace};

/// Runs `cargo xtask ci`: its last line is the tests' summary.
pub fn run() -> ExitCode {
    let mut steps = Steps::default();
    steps.run("tidy", || tidy::run(&tidy::Args { fix: false }));
    let started = Instant::now();
    let (summary, tested) = test::run_all(Reach::Full, None, &[]);
    steps.note("test", tested == ExitCode::SUCCESS, started);
    let started = Instant::now();
    let tested = date::next_leap_day().map(|date| test::run_all(Reach::Fast, Some(&date), &[]).1);
    let passed =
        tested.inspect_err(|error| eprintln!("error: {error:#}")).is_ok_and(|it| it == ExitCode::SUCCESS);
    steps.note("quick tests on 29 February", passed, started);
    // Without `--release`, which builds everything once more and runs the same code: it takes nine minutes on two cores.
    steps.run("quickstart", || {
        process::run(process::cargo().args(["run", "--quiet", "--", "quickstart", "--check"]))
    });
    steps.run("fuzz targets compile", fuzz);
    println!("\n{}", steps.lines.join("\n"));
    println!("{summary}");
    if steps.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Fuzzing itself needs a nightly compiler; the inputs that it has found are run by the tests.
fn fuzz() -> Result<()> {
    process::run(
        process::cargo()
            .args([
                "check",
                "--quiet",
                "--manifest-path",
                "fuzz/Cargo.toml",
                "--target-dir",
                "target/fuzz-check",
            ])
            // Any name keeps libfuzzer-sys from compiling LLVM's fuzzer, in C++: nothing is linked here.
            .env("CUSTOM_LIBFUZZER_PATH", workspace::root().join("fuzz/none.a")),
    )
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
