//! `keystead cluster ...`

mod reencrypt;

use keystead_runtime::Failure;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClusterCommand {
    Reencrypt(Box<reencrypt::ReencryptArgs>),
}

pub(crate) fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Reencrypt(args) => reencrypt::run(*args),
    }
}
