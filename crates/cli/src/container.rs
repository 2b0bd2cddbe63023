//! `keystead container ...`: clusters on a server, in gcloud's words.

mod clusters;
mod hosts;
mod kubeconfig;
mod names;
mod operations;

use keystead_runtime::Failure;

pub(crate) use kubeconfig::with_entry as kubeconfig_with;

use crate::session::{Session, SessionArgs};

/// Clusters on a server, in gcloud's words
///
/// The server knows them and says what their Secrets are encrypted with. The words, options and outputs are those of `gcloud
/// container`, and both work with the same server. `keystead cluster` does the work on a control-plane host without a server.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    #[command(flatten)]
    session: SessionArgs,
    #[command(subcommand)]
    command: ContainerCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ContainerCommand {
    /// Create clusters, change how their Secrets are encrypted, forget them
    #[command(subcommand)]
    Clusters(clusters::ClustersCommand),
    /// What is being done to clusters, and what was
    #[command(subcommand)]
    Operations(operations::OperationsCommand),
    /// What clusters in a location can be
    GetServerConfig(names::Place),
}

pub(crate) fn run(args: &ContainerArgs) -> Result<(), Failure> {
    if let ContainerCommand::Clusters(clusters::ClustersCommand::ExecCredential) = args.command {
        return kubeconfig::exec_credential(&args.session.token_file()?);
    }
    let session = Session::open(&args.session)?;
    match &args.command {
        ContainerCommand::Clusters(command) => clusters::run(&session, command),
        ContainerCommand::Operations(command) => operations::run(&session, command),
        ContainerCommand::GetServerConfig(place) => {
            let path = format!("/v1/{}/serverConfig", place.name(&session)?);
            session.print(session.server().get(&path, &[])?)
        }
    }
}
