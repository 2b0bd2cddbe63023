//! Copies of the database, made while it is used.

use std::path::Path;

use keystead_model::ErrorClass;
use keystead_store::{Revision, StoreError};

use crate::fault::failed;
use crate::reader::Read;
use crate::{SqliteStore, checks, connection, files, writer};

impl SqliteStore {
    /// Writes a consistent copy to a file that does not exist yet, of mode 0600. Reads and commits go on; an erasure waits
    /// until the copy is made. Answers the last commit that is in it.
    ///
    /// The copy holds what the store holds now, and nothing of what was deleted.
    pub async fn backup(&self, target: &Path) -> Result<Revision, StoreError> {
        self.read(|answer| Read::InPlace { answer }).await?;
        let (source, target) = (self.path().to_owned(), target.to_owned());
        let (answer, answered) = tokio::sync::oneshot::channel();
        // Its own thread: it takes seconds where a read takes microseconds. It holds nothing of the store's.
        std::thread::Builder::new()
            .name("store-backup".to_owned())
            .spawn(move || drop(answer.send(copy(&source, &target))))
            .map_err(|error| failed("start a backup to", self.path(), error))?;
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::new(ErrorClass::Bug, "the thread that made a backup panicked"))
        })
    }

    /// Makes a database of a backup. Checks the backup in full; refuses to overwrite anything.
    pub fn restore(backup: &Path, target: &Path) -> Result<Revision, StoreError> {
        let folder = files::folder_of(target);
        for path in [target.to_owned(), files::beside(target, "-wal"), files::beside(target, "-shm")] {
            if path.symlink_metadata().is_ok() {
                return Err(exists(&path));
            }
        }
        verify_backup(backup)?;
        files::make_folder(folder)?;
        copy_into(target, |temporary| {
            let source = connection::immutable(backup).map_err(|fault| fault.into_store_error(backup))?;
            vacuum_into(&source, backup, temporary)
        })
    }
}

/// Reads a backup in full, and answers the last commit that is in it. Changes nothing, and leaves no file beside it.
pub fn verify_backup(path: &Path) -> Result<Revision, StoreError> {
    let into_store_error = |fault: crate::fault::Fault| fault.into_store_error(path);
    let connection = connection::immutable(path).map_err(into_store_error)?;
    checks::whole(&connection).map_err(into_store_error)?;
    writer::newest(&connection).map_err(into_store_error)
}

fn copy(source: &Path, target: &Path) -> Result<Revision, StoreError> {
    copy_into(target, |temporary| {
        let connection = connection::reader(source).map_err(|fault| fault.into_store_error(source))?;
        vacuum_into(&connection, source, temporary)
    })
}

/// Has a file written beside the target, checks it, and gives it its name once it is on the disk.
fn copy_into(
    target: &Path,
    write: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<Revision, StoreError> {
    if target.symlink_metadata().is_ok() {
        return Err(exists(target));
    }
    let folder = files::folder_of(target);
    // Nobody but us can read it, and it is gone when anything fails.
    let temporary = tempfile::Builder::new()
        .prefix(".backup-")
        .tempfile_in(folder)
        .map_err(|error| failed("create a file in", folder, error))?;
    write(temporary.path())?;
    let revision = verify_backup(temporary.path())?;
    temporary.as_file().sync_all().map_err(|error| failed("sync", temporary.path(), error))?;
    // Not a plain rename, which would silently replace what somebody put there meanwhile.
    temporary.persist_noclobber(target).map_err(|error| failed("create", target, error))?;
    files::sync_folder(folder)?;
    Ok(revision)
}

/// Writes only what is live, so that nothing deleted gets into a backup.
fn vacuum_into(source: &rusqlite::Connection, path: &Path, target: &Path) -> Result<(), StoreError> {
    let target = target
        .to_str()
        .ok_or_else(|| StoreError::new(ErrorClass::Invalid, "the name of a backup must be UTF-8"))?;
    source
        .execute("VACUUM INTO ?1", [target])
        .map(drop)
        .map_err(|error| crate::fault::Fault::from(error).into_store_error(path))
}

fn exists(path: &Path) -> StoreError {
    StoreError::new(
        ErrorClass::AlreadyExists,
        format!("{} exists; choose another name or move it away", path.display()),
    )
}
