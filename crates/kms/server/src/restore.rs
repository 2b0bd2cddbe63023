//! A database from a backup, for a data directory that has none. It overwrites nothing, and knows nothing of the root key,
//! which no backup holds.

use std::path::{Path, PathBuf};

use keystead_keyservice::RootDirectory;
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

/// The command that brings a root key back from where it was exported to.
pub(crate) fn import_root_key(path: &Path) -> String {
    format!("`keystead plugin key import SEALED-FILE --identity IDENTITY-FILE --key-file {}`", path.display())
}

/// Checks the backup in full and makes a database of it.
pub fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    // Held until the end: no server starts meanwhile.
    let dir =
        DataDir::open(&args.data_dir).map_err(|error| Failure::from_error(&error).hint(error.hint()))?;
    let database = args.database.clone().unwrap_or_else(|| database_in(dir.path()));
    let there_before = database.symlink_metadata().is_ok();
    let commit = SqliteStore::restore(&args.backup, &database).map_err(|error| {
        let failure = Failure::from_error(&error);
        let hint = "a database that is there is not overwritten: move it away, with its -wal and -shm";
        if there_before { failure.hint(hint.to_owned()) } else { failure }
    })?;
    let root = dir.path().join("root");
    // The next command writes into it.
    let made = RootDirectory::open(&root).map_err(|error| Failure::from_error(&error))?;
    let root_key = made.root_key_path();
    let next = if root_key.exists() {
        format!("its root key must be the one in {}", root_key.display())
    } else {
        format!("next, its root key: {}", import_root_key(&root_key))
    };
    print_result(&format!("{} is restored up to commit {}; {next}\n", database.display(), commit.0))
}
