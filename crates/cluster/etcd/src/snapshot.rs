//! An etcd snapshot (`etcdctl snapshot save`), or the database of a member (`member/snap/db`), without etcd.
//!
//! It shows more than a running etcd does: old revisions stay in the file until etcd compacts them. What compaction has freed
//! is still in the file too until it is defragmented, as free pages, and these are not looked at.

mod error;
mod file_kind;
mod hash;
mod revision;
mod seen_keys;

use std::fs::{File, TryLockError};
use std::path::Path;

pub use error::{EntryProblem, NotASnapshot, SnapshotError};
pub use hash::HashCheck;
pub use revision::{Age, StoredRevision};

use crate::bbolt::{Database, DatabaseError, Root, Source};

/// An open snapshot.
pub struct Snapshot {
    database: Database,
    /// Bytes of the file, which end with the hash if it has one.
    size: u64,
    keys: Root,
    meta: Option<Root>,
}

/// What the file says about itself, beside its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRevisions {
    /// The newest.
    pub last: i64,
    /// The last compaction: older revisions that are not the newest of their key are no longer served.
    pub compacted: Option<i64>,
    /// That compaction was not finished: some of what it should remove may still be in the file.
    pub compaction_unfinished: bool,
}

impl Snapshot {
    /// Opens a file. It takes no lock: an etcd that starts meanwhile is not held up, and [`Self::for_each`] notices it.
    ///
    /// # Errors
    ///
    /// Where the file is none of the two, is cut off, or belongs to an etcd that runs.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        // Looked at first: opening a pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(DatabaseError::Read)?;
        if metadata.is_dir() {
            return Err(file_kind::directory(path).into());
        }
        if !metadata.is_file() {
            return Err(NotASnapshot::NotAFile.into());
        }
        let file = File::open(path).map_err(DatabaseError::Read)?;
        // bbolt holds an exclusive lock as long as it may write. A file system without locks says nothing about it.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => return Err(SnapshotError::InUse),
            Ok(()) => file.unlock().map_err(DatabaseError::Read)?,
            Err(TryLockError::Error(_)) => (),
        }
        Self::read(Box::new(file))
    }

    /// The same, of bytes in memory.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SnapshotError> {
        Self::read(Box::new(bytes))
    }

    fn read(source: Box<dyn Source>) -> Result<Self, SnapshotError> {
        let foreign = file_kind::look_at(&*source);
        let size = source.size().map_err(DatabaseError::Read)?;
        let database = Database::open(source).map_err(|error| match error {
            DatabaseError::Foreign => foreign.into(),
            other => SnapshotError::Database(other),
        })?;
        let [keys, meta] = database.buckets([b"key", b"meta"])?;
        let keys = keys.ok_or(SnapshotError::NotEtcd)?;
        Ok(Self { database, size, keys, meta })
    }

    /// Compares the hash at the end of the file, which `etcdctl snapshot save` writes, with the rest. Reads all of it.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn check_hash(&self) -> Result<HashCheck, SnapshotError> {
        hash::check(self.database.source(), self.size)
    }
}
