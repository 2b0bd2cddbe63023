//! Space that is kept for records: a file of allocated blocks, which shrinks when the file system is full and the log must
//! go on, and grows again when there is room.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::{AuditError, files};

/// The reserve is given up in so many steps, so that 80 % and 90 % are states of their own.
const STEPS: u64 = 32;

pub(crate) struct Reserve {
    file: File,
    size: u64,
    held: u64,
}

impl Reserve {
    /// Opens the file and fills it as far as there is room.
    pub(crate) fn open(dir: &Path, size: u64) -> Result<Self, AuditError> {
        let path = dir.join("reserve");
        let file = files::create(&path, false).map_err(AuditError::io("open", &path))?;
        let mut reserve = Self { file, size, held: 0 };
        let found = rustix::fs::fstat(&reserve.file)
            .map_err(|errno| AuditError::io("examine", &path)(errno.into()))?;
        let len = u64::try_from(found.st_size).unwrap_or_default();
        // Blocks of 512 bytes, whatever the file system's are. A copied file may have none.
        let allocated = u64::try_from(found.st_blocks).unwrap_or_default().saturating_mul(512);
        if len <= size && allocated >= len {
            reserve.held = len;
        } else {
            reserve.set_held(0).map_err(AuditError::io("shorten", &path))?;
        }
        reserve.grow();
        Ok(reserve)
    }

    /// Takes back what was given up, all at once, when more than that is free: otherwise the next record would need it.
    pub(crate) fn grow(&mut self) {
        let missing = self.size.saturating_sub(self.held);
        if missing == 0 || self.free().is_none_or(|free| free < missing + self.step()) {
            return;
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), self.held, missing) {
            Ok(()) => self.held = self.size,
            // Somebody else was faster; what there is of it must not stay.
            Err(errno) => {
                tracing::debug!(%errno, "no room for the audit log's reserve");
                if let Err(error) = self.set_held(self.held) {
                    tracing::warn!(%error, "cannot shorten the audit log's reserve");
                }
            }
        }
    }

    /// Gives up a step, at least `needed` bytes. False when there is nothing left.
    pub(crate) fn release(&mut self, needed: u64) -> bool {
        let smaller = self.held.saturating_sub(needed.max(self.step()));
        self.held > 0 && self.set_held(smaller).is_ok()
    }

    pub(crate) fn used(&self) -> u64 {
        self.size - self.held
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    fn step(&self) -> u64 {
        self.size.div_ceil(STEPS)
    }

    /// What is free for everybody.
    fn free(&self) -> Option<u64> {
        let found = rustix::fs::fstatvfs(&self.file).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn set_held(&mut self, held: u64) -> io::Result<()> {
        self.file.set_len(held)?;
        self.held = held;
        Ok(())
    }
}

/// Whether giving up some of the reserve may help.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::NOSPC, Errno::DQUOT].into_iter().any(|it| errno == Some(it.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_blocks_gives_them_up_in_steps_and_takes_them_back() {
        use std::os::unix::fs::MetadataExt;

        let dir = tempfile::tempdir().expect("a directory");
        let blocks = || std::fs::metadata(dir.path().join("reserve")).expect("there").blocks() * 512;
        let mut reserve = Reserve::open(dir.path(), 1 << 20).expect("room for a mebibyte");
        assert_eq!((reserve.used(), blocks() >= 1 << 20), (0, true));
        assert!(reserve.release(1));
        assert_eq!(reserve.used(), 1 << 15, "a step at least");
        assert!(reserve.release(1 << 19));
        assert_eq!(reserve.used(), (1 << 15) + (1 << 19));
        assert!(blocks() < 1 << 19);
        let mut steps = 0;
        while reserve.release(1) {
            steps += 1;
        }
        assert_eq!((reserve.used(), steps), (1 << 20, 15));
        reserve.grow();
        assert_eq!((reserve.used(), blocks() >= 1 << 20), (0, true));

        drop(reserve);
        let reserve = Reserve::open(dir.path(), 1 << 19).expect("a smaller one");
        assert_eq!((reserve.used(), blocks()), (0, 1 << 19));
    }
}
