//! Who runs the cluster of a directory: whoever has the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use keystead_runtime::Failure;

use crate::files;

const FILE: &str = "lock";

/// Held as long as this lives, and given up by the kernel however its process ends. No child has it: the file is closed when another program is
/// started.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Whether the file that is locked is still the one in the directory: otherwise another process can have the lock of that one.
    pub(crate) fn is_in(&self, directory: &Path) -> bool {
        let identity = |it: std::fs::Metadata| (it.dev(), it.ino());
        let own = self.file.metadata().map(identity);
        let there = std::fs::metadata(directory.join(FILE)).map(identity);
        matches!((own, there), (Ok(own), Ok(there)) if own == there)
    }
}

/// Takes the lock. None: somebody has it.
pub(crate) fn take(directory: &Path) -> Result<Option<Lock>, Failure> {
    let path = directory.join(FILE);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(|error| files::failed("open", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(files::failed("lock", &path, &error)),
    }
}

/// Whether somebody has it. Nothing is made where there is none.
pub(crate) fn is_taken(directory: &Path) -> Result<bool, Failure> {
    let path = directory.join(FILE);
    if !path.exists() {
        return Ok(false);
    }
    Ok(take(directory)?.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_until_it_is_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(!is_taken(directory.path()).expect("looked"));
        let lock = take(directory.path()).expect("opened").expect("free");
        assert!(is_taken(directory.path()).expect("looked"));
        assert!(take(directory.path()).expect("opened").is_none());
        assert!(lock.is_in(directory.path()));
        std::fs::rename(directory.path().join(FILE), directory.path().join("moved")).expect("renamed");
        assert!(!lock.is_in(directory.path()), "nobody finds it");
        std::fs::write(directory.path().join(FILE), "").expect("written");
        assert!(!lock.is_in(directory.path()), "it is another one");
        drop(lock);
        assert!(!is_taken(directory.path()).expect("looked"));
    }
}
