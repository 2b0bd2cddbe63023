//! `keystead cluster ...`

mod counts_report;
mod etcd_args;
mod inventory;
mod reencrypt;
mod snapshot;

use keystead_runtime::Failure;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClusterCommand {
    Inventory(Box<inventory::InventoryArgs>),
    Reencrypt(Box<reencrypt::ReencryptArgs>),
    /// A backup of etcd: what it holds. No etcd is needed
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
}

pub(crate) fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Inventory(args) => inventory::run(&args),
        ClusterCommand::Reencrypt(args) => reencrypt::run(*args),
        ClusterCommand::Snapshot(command) => snapshot::run(&command),
    }
}
