//! `keystead server ...`

use keystead_runtime::Failure;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServerCommand {
    /// Serve the key management service; the same as `keystead-server`
    Run(Box<keystead_server::RunArgs>),
}

pub(crate) fn run(command: ServerCommand) -> Result<(), Failure> {
    match command {
        ServerCommand::Run(args) => keystead_server::run(*args),
    }
}
