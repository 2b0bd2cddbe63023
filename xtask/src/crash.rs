//! `kill -9` under load, as often as one likes. The test itself is crates/kms/server/tests/it/crash.rs.

use anyhow::Result;

use crate::process;

/// Kills the key service under mixed load and checks that every acknowledged result is there.
#[derive(clap::Args)]
pub struct Args {
    /// How often.
    #[arg(long, default_value_t = 10_000)]
    runs: u32,
    /// The seed that an earlier run printed.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs `cargo xtask crash`.
pub fn run(args: &Args) -> Result<()> {
    let mut command = process::cargo();
    command.args(["test", "-p", "keystead-server", "--test", "it", "crash::", "--", "--nocapture"]);
    command.env("KEYSTEAD_CRASH_RUNS", args.runs.to_string());
    if let Some(seed) = args.seed {
        command.env("KEYSTEAD_CRASH_SEED", seed.to_string());
    }
    process::run(&mut command)
}
