//! Everything that can be said about the sources without running them.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{deny, documents, layers, process, sources};

/// Checks everything, or formats with `--fix`.
#[derive(clap::Args)]
pub struct Args {
    /// Format the sources before checking.
    #[arg(long)]
    pub fix: bool,
}

type Check = fn() -> Result<()>;

/// Runs every check, also after one has failed, and names those that did.
pub fn run(args: &Args) -> Result<()> {
    if args.fix {
        process::run(process::cargo().args(["fmt", "--all"]))?;
    }
    // The quick ones first.
    let checks: [(&str, Check); 6] = [
        ("format", || process::run(process::cargo().args(["fmt", "--all", "--check"]))),
        ("sources", sources::check),
        ("documents", documents::check),
        ("layers", layers::run),
        ("deny", deny::check),
        ("clippy", clippy),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        let started = Instant::now();
        match check() {
            Ok(()) => println!("tidy: {name} ok in {:.1} s", started.elapsed().as_secs_f64()),
            Err(error) => {
                eprintln!("error: {error:#}");
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("tidy: {} failed", failed.join(", "));
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    process::run(process::cargo().args(clippy))
}
