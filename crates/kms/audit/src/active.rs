//! The segment that grows.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::error::Failed;
use crate::{AuditError, files};

/// A sealed segment is never written again.
pub(crate) const SEALED_MODE: u32 = 0o400;
/// Zero bytes behind the records, which the next ones are written over. A sync of bytes that take the place of others writes
/// them and nothing else; where the file grows, the file system's journal has to be written as well, which takes as long again
/// or longer. As much as there are records, within these bounds: a small log stays small, and making room holds a busy one up
/// for some milliseconds.
const LEAST_ROOM: u64 = 64 * 1024;
const MOST_ROOM: u64 = 4 << 20;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// An open segment.
pub(crate) struct Active {
    file: File,
    path: PathBuf,
    /// The sequence of its first record.
    pub first: u64,
    /// Bytes that are durable. What is after them was never acknowledged.
    pub len: u64,
    /// Where the file ends: what is between is zeros.
    room: u64,
    /// No room is made before the records reach this: there was none the last time.
    next_room: u64,
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
        // One that a process before this one made may have room already; it is made again.
        file.set_len(0).map_err(Failed::to("cut", &path))?;
        Ok(Self { file, path, first, len: 0, room: 0, next_room: 0, started: None, damaged: false })
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
        Ok(Self {
            file,
            path: path.to_owned(),
            first,
            len,
            room: len,
            next_room: len,
            started,
            damaged: false,
        })
    }

    /// Whether the file at its path is this one. One that was removed or replaced takes records, and is gone when it is closed.
    pub(crate) fn is_in_place(&self) -> bool {
        let at_path = match fs::symlink_metadata(&self.path) {
            Ok(found) => found,
            // What cannot be found out now is not gone.
            Err(error) => return error.kind() != io::ErrorKind::NotFound,
        };
        self.file.metadata().is_ok_and(|open| (open.dev(), open.ino()) == (at_path.dev(), at_path.ino()))
    }

    /// For people and for records.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends lines and makes them durable: all of them, or none.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.repair()?;
        let end = self.len + bytes.len() as u64;
        let written = self.file.write_all_at(bytes, self.len).and_then(|()| {
            self.make_room(end)?;
            self.file.sync_data()
        });
        if let Err(error) = written {
            self.damaged = true;
            // Again before the next record, should it fail now.
            self.repair()
                .unwrap_or_else(|again| tracing::debug!(cause = %again.source, "the tail stays for now"));
            return Err(Failed::to("write", &self.path)(error));
        }
        self.len = end;
        Ok(())
    }

    /// Makes room behind `end`, where the records will end, when they have used up what there was. It is only for speed: where
    /// the disk gives none, records go on without it.
    fn make_room(&mut self, end: u64) -> io::Result<()> {
        if end < self.room {
            return Ok(());
        }
        self.room = end;
        if end < self.next_room {
            return Ok(());
        }
        let room = end + self.len.clamp(LEAST_ROOM, MOST_ROOM);
        while self.room < room {
            if let Err(error) = self.file.write_all_at(&ZEROS, self.room) {
                tracing::debug!(path = %self.path.display(), %error, "no room behind the records");
                self.next_room = room;
                self.room = end;
                // What there is of it takes space that the records need.
                return self.file.set_len(end);
            }
            self.room += ZEROS.len() as u64;
        }
        Ok(())
    }

    /// Cuts off the room and makes the file read-only. The log depends on neither.
    pub(crate) fn seal(self) {
        let cut = self.file.set_len(self.len);
        let sealed = cut.and_then(|()| self.file.set_permissions(Permissions::from_mode(SEALED_MODE)));
        if let Err(error) = sealed.and_then(|()| self.file.sync_all()) {
            tracing::warn!(path = %self.path.display(), %error, "cannot make a sealed segment read-only");
        }
    }

    /// Leaves the segment to the next process, without the room.
    pub(crate) fn close(self) {
        if let Err(error) = self.file.set_len(self.len) {
            tracing::debug!(path = %self.path.display(), %error, "zeros stay behind the records");
        }
    }

    /// After a failed sync nobody knows what is on the disk. All of the group goes: nobody was told that it is there.
    fn repair(&mut self) -> Result<(), Failed> {
        if self.damaged {
            let cut: io::Result<()> = self.file.set_len(self.len).and_then(|()| self.file.sync_all());
            cut.map_err(Failed::to("cut", &self.path))?;
            self.room = self.len;
            self.damaged = false;
        }
        Ok(())
    }
}
