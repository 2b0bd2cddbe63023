use std::error::Error;
use std::path::Path;

use keystead_model::ErrorClass;
use keystead_store::StoreError;
use rusqlite::ErrorCode;

/// Why a statement failed, before it is known to whom that is said.
#[derive(Debug)]
pub(crate) enum Fault {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Fault {
    /// What the caller hears: which database, and what a person can do about it.
    pub(crate) fn into_store_error(self, path: &Path) -> StoreError {
        let path = path.display();
        match self {
            Self::Store(error) => {
                StoreError::new(error.class(), format!("database {path}: {error}")).caused_by(error)
            }
            Self::Sqlite(error) => {
                let (class, text) = explain(&error);
                let code = error.sqlite_error().map_or(0, |error| error.extended_code);
                let text = format!("database {path}: {text} ({error}, SQLite's code {code})");
                StoreError::new(class, text).caused_by(error)
            }
        }
    }

    /// Whether somebody else was in the way, and the connection is as good as before.
    pub(crate) fn is_busy(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }
}

/// An error of the file system.
pub(crate) fn failed(what: &str, path: &Path, error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::new(ErrorClass::Unavailable, format!("cannot {what} {}: {error}", path.display()))
        .caused_by(error)
}

fn explain(error: &rusqlite::Error) -> (ErrorClass, &'static str) {
    use ErrorClass::{Bug, Corrupt, Unavailable};
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            (Corrupt, "it is damaged; restore a backup")
        }
        Some(ErrorCode::DiskFull) => (Unavailable, "the disk is full; free some space"),
        Some(ErrorCode::ReadOnly) => (Unavailable, "it cannot be written"),
        Some(ErrorCode::SystemIoFailure) => (Unavailable, "the disk failed"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (Unavailable, "somebody else has it locked")
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (Unavailable, "it cannot be opened"),
        Some(ErrorCode::OutOfMemory) => (Unavailable, "out of memory"),
        Some(ErrorCode::FileLockingProtocolFailed) => (Unavailable, "its locks do not work"),
        // A value of another type than the column's was not written by us.
        _ if is_of_another_type(error) => (Corrupt, "it is damaged; restore a backup"),
        _ => (Bug, "a statement failed"),
    }
}

fn is_of_another_type(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
    )
}
