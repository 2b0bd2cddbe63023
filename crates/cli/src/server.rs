//! `keystead server ...`

use std::path::PathBuf;

use keystead_runtime::Failure;
use serde_json::json;

use crate::iam::policy::{self, Binding, BindingToRemove, Mask, ReadsBy, Target};
use crate::output::ListArgs;
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
    /// Who may do what on the server and in every project
    GetIamPolicy {
        #[command(flatten)]
        session: Box<SessionArgs>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Replace the server's policy by a file in YAML or JSON
    SetIamPolicy {
        /// The policy, such as get-iam-policy prints it
        policy_file: PathBuf,
        #[command(flatten)]
        session: Box<SessionArgs>,
    },
    /// Grant a role on the server and in every project
    AddIamPolicyBinding {
        #[command(flatten)]
        binding: Binding,
        #[command(flatten)]
        session: Box<SessionArgs>,
    },
    /// Take a role back; the last administrator stays
    RemoveIamPolicyBinding {
        #[command(flatten)]
        binding: BindingToRemove,
        #[command(flatten)]
        session: Box<SessionArgs>,
    },
}

pub(crate) fn run(command: ServerCommand) -> Result<(), Failure> {
    match command {
        #[cfg(feature = "try")]
        ServerCommand::Run(args) => keystead_server::run(*args),
        ServerCommand::Backup(args) => backup(&args),
        #[cfg(feature = "try")]
        ServerCommand::Restore(args) => keystead_server::restore(&args),
        ServerCommand::GetIamPolicy { session, list } => {
            policy::get(&Session::open(&session)?, &target(), &list)
        }
        ServerCommand::SetIamPolicy { policy_file, session } => {
            policy::set(&Session::open(&session)?, &target(), &policy_file, Mask::FileAndEtag)
        }
        ServerCommand::AddIamPolicyBinding { binding, session } => {
            policy::add(&Session::open(&session)?, &target(), &binding)
        }
        ServerCommand::RemoveIamPolicyBinding { binding, session } => {
            policy::remove(&Session::open(&session)?, &target(), &binding)
        }
    }
}

fn backup(args: &SessionArgs) -> Result<(), Failure> {
    let session = Session::open(args)?;
    session.print(session.server().post("/keystead/v1/backups", &[], &json!({}))?)
}

/// The server itself, whose policy every project inherits.
fn target() -> Target<'static> {
    let path = "/keystead/v1/server".to_owned();
    Target { path, kind: "the server", shown: "server", reads_by: ReadsBy::Get }
}
