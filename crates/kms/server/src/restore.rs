//! A database from a backup, for a data directory that has none. It overwrites nothing, and knows nothing of the root key,
//! which no backup holds.

use std::path::PathBuf;

use keystead_runtime::{Failure, print_result};
use keystead_store_sqlite::SqliteStore;

use crate::data_dir::DataDir;
use crate::settings::database_in;

/// Make the database of a server of a backup.
///
/// The server must be stopped. Nothing is overwritten: move an old database away first. The root key is no part of a
/// backup; it goes to DATA_DIR/root/root-key.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// The backup
    backup: PathBuf,
    /// The server's data directory; made when it is not there
    #[arg(long, env = "KEYSTEAD_SERVER_DATA_DIR", value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// The database; DATA_DIR/keystead.db
    #[arg(long, env = "KEYSTEAD_SERVER_DATABASE", value_name = "FILE")]
    database: Option<PathBuf>,
}

/// Checks the backup in full and makes a database of it.
pub fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    // Held until the end: no server starts meanwhile.
    let dir =
        DataDir::open(&args.data_dir).map_err(|error| Failure::from_error(&error).hint(error.hint()))?;
    let database = args.database.clone().unwrap_or_else(|| database_in(dir.path()));
    let commit = SqliteStore::restore(&args.backup, &database).map_err(|error| {
        let hint = "a database that is there is not overwritten: move it away, with its -wal and -shm";
        Failure::from_error(&error).hint(hint.to_owned())
    })?;
    let root_key = dir.path().join("root/root-key");
    let next = if root_key.exists() {
        format!("its root key must be the one in {}", root_key.display())
    } else {
        format!("next, its root key: keystead plugin key import FILE --key-file {}", root_key.display())
    };
    print_result(&format!("{} is restored up to commit {}; {next}\n", database.display(), commit.0))
}
