//! What an export has sent, kept over restarts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cursor_path;
use crate::{AuditError, files};

pub(super) struct Cursor {
    path: PathBuf,
    sequence: u64,
}

impl Cursor {
    /// From the file of a process before this one; without it everything is still to be sent.
    pub(super) fn open(dir: &Path, name: &str) -> Result<Self, AuditError> {
        let path = cursor_path(dir, name);
        let sequence = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().unwrap_or_else(|_| {
                tracing::warn!(path = %path.display(), "not a cursor: everything will be sent again");
                0
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(AuditError::io("read", &path)(error)),
        };
        Ok(Self { path, sequence })
    }

    /// The newest record that was sent.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Keeps it. Not synced: what a power cut takes back is sent again.
    pub(super) fn store(&mut self, sequence: u64) -> io::Result<()> {
        self.sequence = sequence;
        files::replace(&self.path, &format!("{sequence}\n"))
    }
}
