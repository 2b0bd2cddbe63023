//! The binary: parses the command line and calls the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use keystead_plugin::{RunArgs, key_commands};
use keystead_runtime::print_result;

/// Kubernetes KMS plugin: encrypts the seeds of kube-apiserver with a key that lives outside the cluster.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make, look at, change and move the key file of the provider `local`
    Key(key_commands::KeyArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => keystead_plugin::run(cli.run),
        Some(Command::Key(args)) => key_commands::run(args).and_then(|text| print_result(&text)),
    };
    keystead_runtime::exit(result)
}
