//! Who may see the database, and who has it. The rules are not those of `whole_file` in the runtime: SQLite opens the file by itself and
//! changes it in place, it makes more files beside it, and so the folder is judged as the file is.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use keystead_model::ErrorClass;
use keystead_store::StoreError;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::fault::failed;

/// What a store holds as long as it is open. Fields are dropped in this order: the lock comes last.
#[derive(Debug)]
pub(crate) struct Files {
    /// The database file, for reading and overwriting it past SQLite. It is opened before SQLite opens it and closed after, because closing
    /// any descriptor of a file drops all POSIX locks that the process has on it, SQLite's too.
    pub(crate) database: File,
    _lock: Lock,
}

/// Takes the database for this process. Creates its folder and an empty file when there are none.
pub(crate) fn take(path: &Path) -> Result<Files, StoreError> {
    let folder = folder_of(path);
    make_folder(folder)?;
    let lock = lock(path)?;
    let (database, new) = open(path)?;
    if new {
        sync_folder(folder)?;
    }
    Ok(Files { database, _lock: lock })
}

/// Whether the database could be taken, as far as that can be said without making, opening or locking anything.
pub(crate) fn judge(path: &Path) -> Result<(), StoreError> {
    let folder = folder_of(path);
    match folder.metadata() {
        Ok(metadata) => check(folder, &metadata, "0700")?,
        // It is made.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read folder", folder, error)),
    }
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => check(path, &metadata, "0600"),
        Ok(_) => Err(no_file(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// The folder of a database, closed to others. Creates it when there is none, but not the one around it.
pub(crate) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => sync_folder(folder_of(folder))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create folder", folder, error)),
    }
    let metadata = folder.metadata().map_err(|error| failed("read folder", folder, error))?;
    check(folder, &metadata, "0700")
}

/// A file that does not exist yet, for nobody but us.
pub(crate) fn create(path: &Path) -> Result<File, std::io::Error> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Makes names in a folder outlive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed("sync folder", folder, error))
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file beside the database, such as its log.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn open(path: &Path) -> Result<(File, bool), StoreError> {
    match create(path) {
        Ok(file) => return Ok((file, true)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create", path, error)),
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        // No link to somewhere else; and the open of a FIFO would wait for somebody.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(|error| match error.kind() {
            ErrorKind::IsADirectory => no_file(path),
            _ => failed("open", path, error),
        })?;
    let metadata = file.metadata().map_err(|error| failed("read", path, error))?;
    if !metadata.is_file() {
        return Err(no_file(path));
    }
    check(path, &metadata, "0600")?;
    Ok((file, false))
}

/// Refuses what others can read or change, or what somebody else can give them.
fn check(path: &Path, metadata: &Metadata, mode: &str) -> Result<(), StoreError> {
    let (path, ours) = (path.display(), rustix::process::geteuid().as_raw());
    if metadata.uid() != ours && metadata.uid() != 0 {
        let owner = metadata.uid();
        return Err(misconfigured(format!(
            "{path} belongs to user {owner}, and the server runs as user {ours}"
        )));
    }
    if metadata.mode() & 0o077 != 0 {
        let found = metadata.mode() & 0o7777;
        return Err(misconfigured(format!(
            "{path} has mode {found:04o}; others may not see it: chmod {mode} {path}"
        )));
    }
    Ok(())
}

/// That nobody else uses the database. It is given back in so many words: a process that another thread is just starting has a copy of the
/// file until it runs its own program, and would hold the lock for so long.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!(%error, "the database's lock goes only with its file");
        }
    }
}

fn lock(path: &Path) -> Result<Lock, StoreError> {
    let path = &beside(path, ".lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|error| failed("open", path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Who it is helps and is not needed to refuse.
            let known = (&file).take(20).read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if known { holder.trim() } else { "unknown" };
            return Err(StoreError::new(
                ErrorClass::FailedPrecondition,
                format!(
                    "the server with pid {holder} has {} locked; two may not use one database",
                    path.display()
                ),
            ));
        }
        Err(error) => return Err(failed("lock", path, error)),
    }
    let pid = std::process::id().to_string();
    file.set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| file.write_all(pid.as_bytes()))
        .map_err(|error| failed("write", path, error))?;
    Ok(Lock(file))
}

fn no_file(path: &Path) -> StoreError {
    misconfigured(format!("{} is not a file", path.display()))
}

fn misconfigured(text: String) -> StoreError {
    StoreError::new(ErrorClass::Misconfigured, text)
}
