//! Files that hold credentials: bounded, and closed to others.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Longest file that is read, in bytes: a bundle of every public certificate authority has 250 KiB.
const MAX_LEN: usize = 1024 * 1024;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Certificates.
    Anybody,
    /// Secrets: only root or the user that runs this, or the file is refused.
    Owner,
}

/// What changes when a file is replaced or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

/// A file that was read. It stays open, so that the file system gives its inode number to no other file and a stamp
/// never names two.
pub(crate) struct ReadFile {
    path: PathBuf,
    stamp: Stamp,
    _open: File,
}

impl ReadFile {
    /// Whether the path still leads to what was read.
    pub(crate) fn is_current(&self) -> bool {
        stamp(&self.path) == Some(self.stamp)
    }
}

/// Reads a file. Symbolic links are followed, because mounted volumes are made of them; what is checked is what was opened.
pub(crate) fn read(path: &Path, access: Access) -> Result<(Zeroizing<Vec<u8>>, ReadFile), FileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => FileError::Io { path: path.to_owned(), source },
    };
    let file = OpenOptions::new()
        .read(true)
        // The open of a FIFO would wait until somebody writes to it.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check(path, &metadata, access)?;
    // One allocation: growing would leave secrets behind in freed memory.
    let expected = usize::try_from(metadata.len()).unwrap_or(MAX_LEN).min(MAX_LEN);
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 64));
    (&file).take(MAX_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_LEN {
        return Err(FileError::TooLong(path.to_owned()));
    }
    let stamp = stamp_of(&metadata);
    Ok((bytes, ReadFile { path: path.to_owned(), stamp, _open: file }))
}

/// What is at a path now; nothing where nothing can be seen.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| stamp_of(&metadata))
}

fn stamp_of(metadata: &Metadata) -> Stamp {
    Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        len: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn check(path: &Path, metadata: &Metadata, access: Access) -> Result<(), FileError> {
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    if access == Access::Anybody {
        return Ok(());
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Mode { path: path.to_owned(), mode });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(FileError::Owner { path: path.to_owned(), owner });
    }
    Ok(())
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is none.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Others can read it.
    #[error("{} has mode {mode:04o}: others can read or change the secrets in it", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A directory, a device, ...
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Somebody else's.
    #[error("{} belongs to uid {owner}: it must belong to root or to the user that runs this", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// No file of credentials is that long.
    #[error("{} has more than {MAX_LEN} bytes", .0.display())]
    TooLong(PathBuf),
}

impl FileError {
    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Mode { path, .. } => Some(format!(
                "run `chmod 0600 {}`, and replace the credentials if others have read them",
                path.display()
            )),
            _ => None,
        }
    }
}
