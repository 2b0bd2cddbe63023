use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystead_model::ErrorClass;

/// Why a record was not written, or a log not opened. Its text is whole, because it also stands where no chain is printed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The file system refuses.
    #[error("the audit log cannot {action} {}: {source}", path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// Records come faster than they can be written.
    #[error("the audit log cannot keep up: {waiting} records wait to be written")]
    Behind {
        /// How many.
        waiting: usize,
    },
    /// The reserved space is nearly or wholly used up, or nothing can be written.
    #[error("the audit log cannot record {what}: {cause}")]
    Refused {
        /// Which calls are refused.
        what: &'static str,
        /// What has to end before they are recorded again.
        cause: &'static str,
    },
    /// The writer has been waiting for the disk for too long.
    #[error("the audit log waits for its disk, for {seconds} s so far")]
    Stuck {
        /// For how long.
        seconds: u64,
    },
    /// The log is closed, because the process ends.
    #[error("the audit log is closed")]
    Closed,
    /// Another process writes this log.
    #[error("the audit log in {} is in use by another process", path.display())]
    InUse {
        /// Its directory.
        path: PathBuf,
    },
    /// The thread of the writer cannot be started.
    #[error("the audit log cannot start its writer: {0}")]
    Start(String),
    /// A setting that makes no sense.
    #[error("the audit log cannot be set up so: {0}")]
    Setting(&'static str),
}

impl AuditError {
    /// `Unavailable` for whatever may pass; never `Denied`, which callers would take for a revocation.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. }
            | Self::Stuck { .. }
            | Self::Behind { .. }
            | Self::Refused { .. }
            | Self::Closed
            | Self::Start(_) => ErrorClass::Unavailable,
            Self::InUse { .. } | Self::Setting(_) => ErrorClass::Misconfigured,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let failed = Failed::to(action, path);
        move |error| failed(error).into()
    }
}

/// A call to the file system that failed, with the system's own error.
#[derive(Debug)]
pub(crate) struct Failed {
    action: &'static str,
    path: PathBuf,
    pub source: io::Error,
}

impl Failed {
    pub(crate) fn to(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

impl From<Failed> for AuditError {
    fn from(failed: Failed) -> Self {
        Self::Io { action: failed.action, path: failed.path, source: Arc::new(failed.source) }
    }
}
