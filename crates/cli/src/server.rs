//! `keystead server ...`

use keystead_runtime::Failure;
use serde_json::json;

use crate::session::{Session, SessionArgs};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServerCommand {
    /// Serve the key management service; the same as `keystead-server`
    #[cfg(feature = "try")]
    Run(Box<keystead_server::RunArgs>),
    /// Have a running server write a copy of its database into `backups` of its data directory
    ///
    /// Calls go on meanwhile. The copy does not hold the root key, without which it cannot be opened.
    Backup(Box<SessionArgs>),
    #[cfg(feature = "try")]
    Restore(Box<keystead_server::RestoreArgs>),
}

pub(crate) fn run(command: ServerCommand) -> Result<(), Failure> {
    match command {
        #[cfg(feature = "try")]
        ServerCommand::Run(args) => keystead_server::run(*args),
        ServerCommand::Backup(args) => backup(&args),
        #[cfg(feature = "try")]
        ServerCommand::Restore(args) => keystead_server::restore(&args),
    }
}

fn backup(args: &SessionArgs) -> Result<(), Failure> {
    let session = Session::open(args)?;
    session.print(session.server().post("/keystead/v1/backups", &[], &json!({}))?)
}
