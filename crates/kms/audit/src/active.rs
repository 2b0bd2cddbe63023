//! The segment that grows.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::error::Failed;
use crate::{AuditError, files};

/// A sealed segment is never written again.
pub(crate) const SEALED_MODE: u32 = 0o400;

/// An open segment.
pub(crate) struct Active {
    file: File,
    path: PathBuf,
    /// The sequence of its first record.
    pub first: u64,
    /// Bytes that are durable. What is after them was never acknowledged.
    pub len: u64,
    /// The time of its first record; none while it is empty.
    pub started: Option<Timestamp>,
    /// A write failed, and what it left behind is not yet cut off.
    damaged: bool,
}

impl Active {
    /// Begins a segment. Its file may be there, empty, after a failure between the two calls.
    pub(crate) fn begin(dir: &Path, first: u64) -> Result<Self, Failed> {
        let path = files::segment_path(dir, first);
        let file = files::create(&path, false).map_err(Failed::to("make", &path))?;
        files::sync_directory(dir).map_err(Failed::to("sync", dir))?;
        Ok(Self { file, path, first, len: 0, started: None, damaged: false })
    }

    /// Goes on with a segment of which `len` bytes are good, and cuts off the rest.
    pub(crate) fn resume(
        path: &Path,
        first: u64,
        len: u64,
        started: Option<Timestamp>,
    ) -> Result<Self, AuditError> {
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(AuditError::io("open", path))?;
        // Also what is whole may not be durable: the process before this one died before its sync.
        file.set_len(len).and_then(|()| file.sync_all()).map_err(AuditError::io("cut", path))?;
        Ok(Self { file, path: path.to_owned(), first, len, started, damaged: false })
    }

    /// Appends lines and makes them durable: all of them, or none.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.repair()?;
        let written = self.file.write_all_at(bytes, self.len).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.damaged = true;
            // Again before the next record, should it fail now.
            self.repair()
                .unwrap_or_else(|again| tracing::debug!(cause = %again.source, "the tail stays for now"));
            return Err(Failed::to("write", &self.path)(error));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes the file read-only. The log does not depend on it.
    pub(crate) fn seal(self) {
        let sealed = self.file.set_permissions(Permissions::from_mode(SEALED_MODE));
        if let Err(error) = sealed.and_then(|()| self.file.sync_all()) {
            tracing::warn!(path = %self.path.display(), %error, "cannot make a sealed segment read-only");
        }
    }

    /// After a failed sync nobody knows what is on the disk. All of the group goes: nobody was told that it is there.
    fn repair(&mut self) -> Result<(), Failed> {
        if self.damaged {
            let cut: io::Result<()> = self.file.set_len(self.len).and_then(|()| self.file.sync_all());
            cut.map_err(Failed::to("cut", &self.path))?;
            self.damaged = false;
        }
        Ok(())
    }
}
