//! Where backups go: one folder, into which the database copies itself.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use keystead_crypto::Sha256;
use keystead_keyservice::operations::{BackupCopy, BackupStore, PendingBackup};
use keystead_model::ErrorClass;
use keystead_store::StoreError;
use keystead_store_sqlite::SqliteStore;

/// A folder for backups of a database.
pub struct BackupFolder {
    store: Arc<SqliteStore>,
    path: PathBuf,
}

impl BackupFolder {
    /// The folder must exist.
    pub fn new(store: Arc<SqliteStore>, path: PathBuf) -> Self {
        Self { store, path }
    }
}

impl BackupStore for BackupFolder {
    fn backup<'a>(&'a self, name: &'a str) -> PendingBackup<'a> {
        Box::pin(async move {
            let file = self.path.join(name);
            let revision = self.store.backup(&file).await?.0;
            let digest = tokio::task::spawn_blocking(move || digest(&file));
            let read = digest.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            let (size_bytes, sha256) = read.map_err(|error| {
                let text = format!("the backup {name} cannot be read: {error}");
                StoreError::new(ErrorClass::Unavailable, text).caused_by(error)
            })?;
            Ok(BackupCopy { revision, size_bytes, sha256 })
        })
    }
}

/// Length and SHA-256 of a file, read in pieces: databases are large.
fn digest(path: &std::path::Path) -> io::Result<(u64, [u8; 32])> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::default();
    let mut piece = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let read = file.read(&mut piece)?;
        let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
        size += read.len() as u64;
    }
    Ok((size, digest.finish()))
}
