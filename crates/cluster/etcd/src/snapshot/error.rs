//! Why there is no view of a snapshot.

use std::path::PathBuf;

use keystead_model::ErrorClass;

use crate::bbolt::DatabaseError;

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is something else.
    #[error(transparent)]
    Foreign(#[from] NotASnapshot),
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A bbolt database of another program.
    #[error("the file is a bbolt database, but not etcd's: it has no bucket `key`")]
    NotEtcd,
    /// An etcd has the file open.
    #[error(
        "the file is in use by an etcd that is running: take a snapshot (etcdctl snapshot save) and read that"
    )]
    InUse,
    /// Somebody wrote to it while it was being read.
    #[error("the file was changed while it was being read: an etcd was started on it")]
    Changed,
    /// An entry that etcd cannot have written.
    #[error("entry {index} of page {page} of the file is damaged: {problem}")]
    Entry {
        /// The page's number, from 0.
        page: u64,
        /// The entry's number in the page, from 0.
        index: usize,
        /// In which way.
        problem: EntryProblem,
    },
    /// More than 37 million.
    #[error("the file has {0} revisions, more than can be told apart here")]
    TooMany(u64),
}

/// What the file is instead.
#[derive(Debug, thiserror::Error)]
pub enum NotASnapshot {
    /// A directory.
    #[error("it is a directory, and a file is wanted: {}", wanted(database.as_ref()))]
    Directory {
        /// The database in it, if it is etcd's data directory or one inside it.
        database: Option<PathBuf>,
    },
    /// A pipe, device or socket.
    #[error("it is not a regular file")]
    NotAFile,
    /// A file whose beginning is known.
    #[error("the file is not an etcd snapshot: it looks like {0}")]
    LooksLike(&'static str),
    /// Any other file.
    #[error(
        "the file is not an etcd snapshot (`etcdctl snapshot save`), nor etcd's database (`member/snap/db`)"
    )]
    Unknown,
}

/// What is wrong with an entry of the bucket `key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// etcd's keys there are revisions.
    #[error("its key is not a revision")]
    Key,
    /// bbolt keeps keys in order.
    #[error("its revision is not older than the one after it")]
    Order,
    /// etcd's values there are `mvccpb.KeyValue`.
    #[error("its value is not a key with its value")]
    Value,
}

impl SnapshotError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Foreign(_) | Self::NotEtcd | Self::InUse | Self::TooMany(_) => ErrorClass::Invalid,
            Self::Changed => ErrorClass::Aborted,
            Self::Entry { .. } => ErrorClass::Corrupt,
            Self::Database(error) => class_of(error),
        }
    }
}

fn class_of(error: &DatabaseError) -> ErrorClass {
    match error {
        DatabaseError::Read(source) => match source.kind() {
            std::io::ErrorKind::NotFound => ErrorClass::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorClass::Denied,
            _ => ErrorClass::Unavailable,
        },
        DatabaseError::Foreign | DatabaseError::Version(_) | DatabaseError::BigEndian => ErrorClass::Invalid,
        DatabaseError::Meta
        | DatabaseError::Senseless(_)
        | DatabaseError::Truncated { .. }
        | DatabaseError::Page { .. } => ErrorClass::Corrupt,
    }
}

fn wanted(database: Option<&PathBuf>) -> String {
    match database {
        Some(path) => format!("{} while its etcd is stopped, or a snapshot of it", path.display()),
        None => "a snapshot, or member/snap/db of etcd's data directory".to_owned(),
    }
}
