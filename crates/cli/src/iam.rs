//! `keystead iam ...`

mod certificates;
pub(crate) mod policy;
mod service_accounts;
mod tokens;

use keystead_runtime::Failure;

use crate::session::{Session, SessionArgs};

/// Service accounts in gcloud's words, and tokens
///
/// These say who calls the server; roles, granted on projects, rings and keys, say what they may do.
/// `iam service-accounts` has the words, options and outputs of gcloud; `iam tokens` and `iam certificates` are our own.
#[derive(Debug, clap::Args)]
pub(crate) struct IamArgs {
    #[command(flatten)]
    session: SessionArgs,
    #[command(subcommand)]
    command: IamCommand,
}

#[derive(Debug, clap::Subcommand)]
enum IamCommand {
    /// Identities of programs
    #[command(subcommand)]
    ServiceAccounts(service_accounts::ServiceAccountsCommand),
    /// Client certificates of the server's authority
    #[command(subcommand)]
    Certificates(certificates::CertificatesCommand),
    /// Tokens of the server: for people, plugins and scripts that do without key files
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
}

pub(crate) fn run(args: &IamArgs) -> Result<(), Failure> {
    let session = Session::open(&args.session)?;
    match &args.command {
        IamCommand::ServiceAccounts(command) => service_accounts::run(&session, command),
        IamCommand::Certificates(command) => certificates::run(&session, command),
        IamCommand::Tokens(command) => tokens::run(&session, command),
    }
}
