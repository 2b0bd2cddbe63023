//! Whether the files that are open are still the ones at their paths. What is written to a file that was removed or replaced
//! is gone with the process, although every write of it succeeds.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keystead_model::ErrorClass;
use keystead_store::StoreError;

use crate::fault::failed;
use crate::files::beside;

/// The files of a database in use, as they were when it was opened.
pub(crate) struct Place(Vec<(PathBuf, Identity)>);

/// Device and inode. No other file gets them while this one is open.
type Identity = (u64, u64);

impl Place {
    /// After the log was opened: it stays the same file as long as any connection is open.
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        let files = [path.to_owned(), beside(path, "-wal"), beside(path, "-shm"), beside(path, ".lock")];
        let look = |file: PathBuf| match identity(&file) {
            Ok(identity) => Ok((file, identity)),
            Err(error) => Err(failed("read", &file, error)),
        };
        Ok(Self(files.into_iter().map(look).collect::<Result<_, _>>()?))
    }

    /// `FailedPrecondition` when one of them is another file now, or none.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for (file, opened) in &self.0 {
            match identity(file) {
                Ok(found) if found == *opened => {}
                Ok(_) => return Err(lost(file, "replaced")),
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(lost(file, "removed")),
                Err(error) => return Err(failed("read", file, error)),
            }
        }
        Ok(())
    }
}

fn identity(file: &Path) -> std::io::Result<Identity> {
    let metadata = file.symlink_metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

fn lost(file: &Path, what: &str) -> StoreError {
    let file = file.display();
    let text = format!(
        "{file} was {what} while the server has it open. Changes are refused, because the next start would not find them. Move the \
         original back, with those beside it; if it is gone, stop the server and restore the newest backup"
    );
    StoreError::new(ErrorClass::FailedPrecondition, text)
}
