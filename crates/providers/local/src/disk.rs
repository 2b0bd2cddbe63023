//! Key files on disk: nobody else can read them, changes are atomic, and two commands never work on one file at once.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use keystead_runtime::whole_file::{self, FileError, ReadFile, Readers};
use rustix::fs::{FlockOperation, flock};

use crate::key_file::{EditError, KeyFile, KeyFileError, MAX_LEN};

/// Reads a key file. Refuses one that belongs to anybody but root or us, or that others can read.
pub fn load(path: &Path) -> Result<KeyFile, DiskError> {
    load_open(path).map(|(file, _)| file)
}

/// Makes a change under a lock, and writes the result so that a reader sees the old file or the new one, and a crash
/// leaves one of them.
pub fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut KeyFile) -> Result<T, EditError>,
) -> Result<T, DiskError> {
    let _lock = lock(path)?;
    let mut file = load(path)?;
    let answer =
        change(&mut file).map_err(|error| DiskError::Edit { path: path.to_owned(), source: error })?;
    replace(path, &file)?;
    Ok(answer)
}

/// Writes a key file where there is none.
pub fn create(path: &Path, file: &KeyFile) -> Result<(), DiskError> {
    let _lock = lock(path)?;
    if path.symlink_metadata().is_ok() {
        return Err(DiskError::Exists(path.to_owned()));
    }
    replace(path, file)
}

/// Writes a key file where there is none, or in place of one that holds nothing that the new one lacks. Which versions were
/// removed here is kept.
pub fn store(path: &Path, mut file: KeyFile) -> Result<(), DiskError> {
    let _lock = lock(path)?;
    if path.symlink_metadata().is_ok() {
        let old = load(path)?;
        file.can_replace(&old).map_err(|error| DiskError::Edit { path: path.to_owned(), source: error })?;
        file.remember(&old);
    }
    replace(path, &file)
}

/// Reads a key file, which says later whether it is still the one that was read.
pub(crate) fn load_open(path: &Path) -> Result<(KeyFile, ReadFile), DiskError> {
    let (text, read) = whole_file::read(path, Readers::Owner, MAX_LEN)?;
    let file =
        KeyFile::parse(&text).map_err(|source| DiskError::Content { path: path.to_owned(), source })?;
    Ok((file, read))
}

/// Beside the key file, because the key file itself is replaced by each change.
fn lock(path: &Path) -> Result<File, DiskError> {
    // The change would replace the link, and a lock beside the link does not keep out who works on the file itself.
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(DiskError::Link(path.to_owned()));
    }
    let lock_path = sibling(path, ".lock")?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|error| failed("lock", path, error))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed("lock", path, error.into()))?;
    Ok(lock)
}

fn replace(path: &Path, file: &KeyFile) -> Result<(), DiskError> {
    whole_file::replace(path, file.print().as_bytes(), Readers::Owner)
        .map_err(|error| failed("write", path, error))
}

fn sibling(path: &Path, suffix: &str) -> Result<PathBuf, DiskError> {
    let name = path.file_name().ok_or_else(|| FileError::NotAFile(path.to_owned()))?;
    let mut sibling = name.to_owned();
    sibling.push(suffix);
    Ok(path.with_file_name(sibling))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> DiskError {
    DiskError::Io { action, path: path.to_owned(), source }
}

/// Why a key file, or another file of secrets, was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Its text is refused.
    #[error("cannot use key file {}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyFileError,
    },
    /// The change is refused; the file is as it was.
    #[error("key file {} was not changed", path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: EditError,
    },
    /// Something is there already.
    #[error("{} exists already; a key file is never overwritten", .0.display())]
    Exists(PathBuf),
    /// It cannot be read, or others could read it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A symbolic link where something shall be written.
    #[error("{} is a symbolic link; name the file that it leads to", .0.display())]
    Link(PathBuf),
}

impl DiskError {
    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(FileError::Missing(path)) => Some(format!(
                "if the cluster may exist already, restore the file from another host or a copy; only for the first host of a new cluster, run `keystead-plugin key create --key-file {}`",
                path.display()
            )),
            Self::File(FileError::Mode { path, .. }) => {
                Some(format!("run `chmod 0600 {}`, and rotate if others have read it", path.display()))
            }
            Self::Content { .. } => Some(
                "put back a copy of the file, or `key import` one that was exported on another host"
                    .to_owned(),
            ),
            Self::Exists(_) => Some("use `key add` to put a new version into it".to_owned()),
            _ => None,
        }
    }
}
