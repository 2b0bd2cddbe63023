//! `keystead cluster ...`

mod counts_report;
mod etcd_args;
mod evidence;
mod host;
mod inventory;
mod platform;
mod prepare_host;
mod reencrypt;
mod rollout;
mod rollout_args;
mod snapshot;
mod status;
mod verify;

use keystead_runtime::Failure;

pub(crate) use rollout::{AgentGoal, EncryptedValues, HostRollout};
pub(crate) use rollout_args::LocalArgs;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClusterCommand {
    Status(Box<status::StatusArgs>),
    Enable(Box<rollout::EnableArgs>),
    Migrate(Box<rollout::MigrateArgs>),
    Rotate(Box<rollout::RotateArgs>),
    Disable(Box<rollout::DisableArgs>),
    Undo(Box<rollout::UndoArgs>),
    Continue(Box<rollout::ContinueArgs>),
    PrepareHost(Box<prepare_host::PrepareHostArgs>),
    Verify(Box<verify::VerifyArgs>),
    /// A report that `verify` signed: check it without a cluster, make the key that signs
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
    Inventory(Box<inventory::InventoryArgs>),
    Reencrypt(Box<reencrypt::ReencryptArgs>),
    Host(Box<host::HostArgs>),
    /// A backup of etcd: what it holds, what reads it, what is in it. No etcd is needed
    #[command(subcommand)]
    Snapshot(Box<snapshot::SnapshotCommand>),
}

pub(crate) fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status(args) => args.run(),
        ClusterCommand::Enable(args) => args.run(),
        ClusterCommand::Migrate(args) => args.run(),
        ClusterCommand::Rotate(args) => args.run(),
        ClusterCommand::Disable(args) => args.run(),
        ClusterCommand::Undo(args) => args.run(),
        ClusterCommand::Continue(args) => args.run(),
        ClusterCommand::Verify(args) => args.run(),
        ClusterCommand::PrepareHost(args) => args.run(),
        ClusterCommand::Evidence(command) => command.run(),
        ClusterCommand::Host(args) => host::run(&args),
        ClusterCommand::Inventory(args) => inventory::run(&args),
        ClusterCommand::Reencrypt(args) => reencrypt::run(*args),
        ClusterCommand::Snapshot(command) => snapshot::run(&command),
    }
}
