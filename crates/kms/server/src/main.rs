//! The binary: parses the command line and calls the library.

use std::process::ExitCode;

use clap::Parser;
use keystead_server::RunArgs;

/// Key management service that speaks Google Cloud KMS v1.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    keystead_runtime::exit(keystead_server::run(Cli::parse().run))
}
