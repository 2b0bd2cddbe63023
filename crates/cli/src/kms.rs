//! `keystead kms ...`: Cloud KMS in gcloud's words.

mod ciphers;
mod inventory;
mod keyrings;
mod keys;
mod locations;
mod names;
mod versions;

use keystead_runtime::Failure;

use crate::session::{Session, SessionArgs};

pub(crate) use keys::{set_primary, wait};
pub(crate) use names::{InKey, checked, id};

/// Keys of a key management service, in gcloud's words
///
/// Create, grant, use, rotate and destroy them. The words, options and outputs are those of `gcloud kms`, and both work
/// with the same server.
///
/// Three things are called rotation. `kms keys versions create --primary` makes a new version of a key in the service;
/// nothing that is already encrypted changes. `plugin key rotate` does the same for a plugin whose key is a local file.
/// Neither rewrites a Secret in etcd: `cluster rotate --new-version` does the one or the other, and then writes the Secrets anew once every API
/// server uses the new version.
#[derive(Debug, clap::Args)]
pub(crate) struct KmsArgs {
    #[command(flatten)]
    session: SessionArgs,
    #[command(subcommand)]
    command: KmsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KmsCommand {
    /// Groups of keys; they can never be deleted
    #[command(subcommand)]
    Keyrings(keyrings::KeyringsCommand),
    /// Keys, their rotation schedules, grants and versions
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Encrypt a file of at most 64 KiB
    Encrypt(ciphers::EncryptArgs),
    /// Decrypt a file
    Decrypt(ciphers::DecryptArgs),
    /// Random bytes from the service
    GenerateRandomBytes(ciphers::RandomArgs),
    /// What keys protect, and all keys of a project
    #[command(subcommand)]
    Inventory(inventory::InventoryCommand),
    /// Places where keys can be
    #[command(subcommand)]
    Locations(locations::LocationsCommand),
    /// Names of deleted keys, which are never given again
    #[command(subcommand)]
    RetiredResources(locations::RetiredCommand),
}

pub(crate) fn run(args: &KmsArgs) -> Result<(), Failure> {
    let session = Session::open(&args.session)?;
    match &args.command {
        KmsCommand::Keyrings(command) => keyrings::run(&session, command),
        KmsCommand::Keys(command) => keys::run(&session, command),
        KmsCommand::Encrypt(args) => ciphers::encrypt(&session, args),
        KmsCommand::Decrypt(args) => ciphers::decrypt(&session, args),
        KmsCommand::GenerateRandomBytes(args) => ciphers::random(&session, args),
        KmsCommand::Inventory(command) => inventory::run(&session, command),
        KmsCommand::Locations(command) => locations::run(&session, command),
        KmsCommand::RetiredResources(command) => locations::run_retired(&session, command),
    }
}
