//! The binary: parses the command line and calls the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    keystead_runtime::exit(keystead::run(keystead::Cli::parse()))
}
