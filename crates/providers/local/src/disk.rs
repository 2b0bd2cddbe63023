//! Key files on disk: nobody else can read them, changes are atomic, and two commands never work on one file at once.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::key_file::{EditError, KeyFile, KeyFileError, MAX_LEN};

/// Reads a key file. Refuses one that belongs to anybody but root or us, or that others can read.
pub fn load(path: &Path) -> Result<KeyFile, DiskError> {
    load_open(path).map(|loaded| loaded.file)
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

/// What changes when a file is replaced or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

pub(crate) fn stamp(path: &Path) -> Result<Stamp, DiskError> {
    fs::metadata(path).map(|metadata| stamp_of(&metadata)).map_err(|error| failed("read", path, error))
}

/// A key file, and where it came from.
pub(crate) struct Loaded {
    pub(crate) file: KeyFile,
    pub(crate) stamp: Stamp,
    /// While it is open, the file system gives its inode number to no other file, so that no two files have one stamp,
    /// however quickly they follow each other.
    pub(crate) open: File,
}

pub(crate) fn load_open(path: &Path) -> Result<Loaded, DiskError> {
    let (text, open) = read_private(path, MAX_LEN)?;
    let metadata = open.metadata().map_err(|error| failed("read", path, error))?;
    let file =
        KeyFile::parse(&text).map_err(|source| DiskError::Content { path: path.to_owned(), source })?;
    Ok(Loaded { file, stamp: stamp_of(&metadata), open })
}

/// Reads a file of secrets, of which only the first `longest` bytes and one more: enough to see that it is too long.
/// Refuses one that belongs to anybody but root or us, or that others can read.
pub(crate) fn read_private(path: &Path, longest: usize) -> Result<(Zeroizing<Vec<u8>>, File), DiskError> {
    // Symbolic links are followed, because mounted volumes are made of them; what is checked is the file that was opened.
    let file = OpenOptions::new()
        .read(true)
        // The open of a FIFO would wait until somebody writes to it. A regular file does not notice.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DiskError::Missing(path.to_owned()),
            _ => failed("read", path, error),
        })?;
    let metadata = file.metadata().map_err(|error| failed("read", path, error))?;
    check_access(path, &metadata)?;
    // One allocation: growing would leave keys behind in freed memory.
    let mut text = Zeroizing::new(Vec::with_capacity(longest + 1));
    (&file).take(longest as u64 + 1).read_to_end(&mut text).map_err(|error| failed("read", path, error))?;
    Ok((text, file))
}

fn stamp_of(metadata: &Metadata) -> Stamp {
    Stamp { inode: metadata.ino(), len: metadata.len(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
}

fn check_access(path: &Path, metadata: &Metadata) -> Result<(), DiskError> {
    if !metadata.is_file() {
        return Err(DiskError::NotAFile(path.to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(DiskError::Mode { path: path.to_owned(), mode });
    }
    let ours = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != ours {
        return Err(DiskError::Owner { path: path.to_owned(), owner: metadata.uid() });
    }
    Ok(())
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
    write_private(path, file.print().as_bytes()).map_err(|error| failed("write", path, error))
}

/// Writes a file of mode 0600 by rename, synced before and after.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    temporary(directory, bytes)?.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

/// The same where there is no file; `AlreadyExists` where there is one, also when it appears at the last moment.
pub(crate) fn write_new_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    temporary(directory, bytes)?.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

fn temporary(directory: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut temporary = tempfile::Builder::new()
        .prefix(".keystead-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sibling(path: &Path, suffix: &str) -> Result<PathBuf, DiskError> {
    let name = path.file_name().ok_or_else(|| DiskError::NotAFile(path.to_owned()))?;
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
    /// There is none.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Others can read it.
    #[error("{} has mode {mode:04o}: others can read or change it", path.display())]
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
}

impl DiskError {
    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(path) => Some(format!(
                "if the cluster may exist already, restore the file from another host or a copy; only for the first host of a new cluster, run `keystead-plugin key create --key-file {}`",
                path.display()
            )),
            Self::Mode { path, .. } => {
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
