//! The tests: builds what is missing, runs every test program, sums up.

use std::ffi::OsString;
use std::io::stdout;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::libtest::{self, Outcome};
use crate::parts::{self, Parts};
use crate::{date, process};

/// Most tests wait for servers, disks and deadlines: at least so many at a time, also with fewer cores.
const MIN_THREADS: usize = 4;
/// How many tests at a time, where the caller says it.
const THREADS: &str = "RUST_TEST_THREADS";

/// Runs unit and integration tests, and without `--fast` those marked as ignored too.
#[derive(clap::Args)]
pub struct Args {
    /// Only the tests that need nothing but Rust: no real control plane, no Go.
    #[arg(long)]
    fast: bool,
    /// Also the tests of what `image` and `release` make, and of a real node and a real systemd. They build the plugin once more, with another C
    /// compiler, and Kubernetes' and containerd's programs.
    #[arg(long, conflicts_with = "fast")]
    tools: bool,
    /// Run them at another date, such as 2028-02-29: with libfaketime, which is installed if it is missing.
    #[arg(long, requires = "fast")]
    date: Option<String>,
    /// A filter for test names, or options of Rust's test programs.
    #[arg(last = true)]
    filter: Vec<String>,
}

/// How far a run goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// What needs nothing but Rust.
    Fast,
    /// Also what needs real parts.
    Full,
    /// Also what `image` and `release` make, a real node and a real systemd.
    Tools,
}

impl Args {
    fn reach(&self) -> Reach {
        match (self.fast, self.tools) {
            (true, _) => Reach::Fast,
            (false, false) => Reach::Full,
            (false, true) => Reach::Tools,
        }
    }
}

/// Runs `cargo xtask test`: its last line is the summary.
pub fn run(args: &Args) -> ExitCode {
    let (summary, code) = run_all(args.reach(), args.date.as_deref(), &args.filter);
    println!("{summary}");
    code
}

/// Runs everything and returns the last line, for whoever has more to print before it.
pub fn run_all(reach: Reach, date: Option<&str>, filter: &[String]) -> (String, ExitCode) {
    let mut report = Report::default();
    if let Err(error) = report.fill(reach, date, filter) {
        eprintln!("error: {error:#}");
        report.total.failed += 1;
    }
    report.print(reach);
    let code = if report.total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let total = report.total;
    (format!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.ignored.len()), code)
}

#[derive(Default)]
struct Report {
    lines: Vec<String>,
    parts: Parts,
    total: Outcome,
}

impl Report {
    fn fill(&mut self, reach: Reach, date: Option<&str>, filter: &[String]) -> Result<()> {
        let programs = build()?;
        if let Some(date) = date {
            self.parts.variables = date::environment(date)?;
        }
        if reach != Reach::Fast {
            self.parts = parts::provide(reach == Reach::Tools)?;
            // Each counts as a failure of its own, also when no test noticed.
            self.total.failed += self.parts.missing.iter().filter(|it| it.excuse.is_none()).count();
        }
        for program in programs {
            println!("\n== {}", program.name);
            let mut outcome = libtest::stream(self.command(&program).args(filter), &mut stdout())?;
            if reach != Reach::Fast {
                self.run_ignored(&program, filter, &mut outcome)?;
            }
            self.count(program.name, outcome);
        }
        println!("\n== documentation");
        let mut documentation = process::cargo();
        documentation.args(["test", "--quiet", "--workspace", "--doc", "--"]).args(filter);
        let mut outcome = libtest::stream(&mut documentation, &mut stdout())?;
        for example in outcome.ignored.drain(..) {
            eprintln!("error: the example {} is never run: use `no_run` or `text`", example.name);
            outcome.failed += 1;
        }
        self.count("documentation".into(), outcome);
        Ok(())
    }

    /// Runs what the plain run left out, except where a part is missing that may be missing.
    fn run_ignored(&self, program: &Program, filter: &[String], outcome: &mut Outcome) -> Result<()> {
        let excused = |reason: &str| {
            self.parts.missing.iter().any(|it| it.excuse.is_some() && reason.contains(&it.name))
        };
        let (skipped, wanted): (Vec<_>, Vec<_>) =
            outcome.ignored.drain(..).partition(|it| excused(&it.reason));
        if !wanted.is_empty() {
            let mut command = self.command(program);
            command.args(["--ignored", "--exact"]).args(filter.iter().filter(|it| it.starts_with("--")));
            outcome.add(libtest::stream(command.args(wanted.iter().map(|it| &it.name)), &mut stdout())?);
        }
        outcome.ignored.extend(skipped);
        Ok(())
    }

    /// The program as cargo would start it.
    fn command(&self, program: &Program) -> Command {
        let mut command = Command::new(&program.path);
        command.current_dir(&program.dir).env("CARGO_MANIFEST_DIR", &program.dir);
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        command.env(THREADS, threads(std::env::var_os(THREADS), cores));
        command.envs(self.parts.variables.iter().map(|(name, path)| (name, path)));
        command
    }

    fn count(&mut self, name: String, outcome: Outcome) {
        if !outcome.is_empty() {
            let (passed, failed, skipped) = (outcome.passed, outcome.failed, outcome.ignored.len());
            let seconds = outcome.took.as_secs_f64();
            self.lines.push(format!(
                "{name}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.1} s"
            ));
        }
        self.total.add(outcome);
    }

    fn print(&self, reach: Reach) {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        for part in &self.parts.missing {
            let verdict = part.excuse.as_deref().map_or("fails the run".into(), |it| format!("may be: {it}"));
            println!("missing: {} ({}); {verdict}", part.name, part.cause);
        }
        for test in &self.total.ignored {
            println!("skipped: {} ({})", test.name, test.reason);
        }
        if reach == Reach::Fast && !self.total.ignored.is_empty() {
            println!("skipped tests run without --fast");
        }
    }
}

fn threads(asked: Option<OsString>, cores: usize) -> OsString {
    asked.unwrap_or_else(|| cores.max(MIN_THREADS).to_string().into())
}

/// A test program that cargo has built.
struct Program {
    /// Package, and the target where it is not the library.
    name: String,
    path: PathBuf,
    /// Of the package: where its tests expect to run.
    dir: PathBuf,
}

/// Builds all test programs and all binaries that they start.
fn build() -> Result<Vec<Program>> {
    process::run(process::cargo().args(["build", "--workspace", "--bins"]))?;
    let tests = ["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"];
    let messages = process::output(process::cargo().args(tests))?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        programs.extend(program(&serde_json::from_str(line)?));
    }
    programs.sort_by(|a: &Program, b| a.name.cmp(&b.name));
    if programs.is_empty() {
        bail!("cargo has built no test program");
    }
    Ok(programs)
}

fn program(message: &Value) -> Option<Program> {
    let built = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let path = message["executable"].as_str().filter(|_| built)?;
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let (target, kind) = (message["target"]["name"].as_str()?, message["target"]["kind"][0].as_str()?);
    let dir = manifest.parent()?;
    let place = dir.strip_prefix(crate::workspace::root()).ok()?.display();
    let name = if kind == "lib" { place.to_string() } else { format!("{place} ({kind} {target})") };
    Some(Program { name, path: path.into(), dir: dir.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_thread_for_each_core_and_at_least_four_unless_the_caller_says_otherwise() {
        assert_eq!(threads(None, 2), "4");
        assert_eq!(threads(None, 16), "16");
        assert_eq!(threads(Some("1".into()), 16), "1");
    }
}
