//! Files that are read and written whole: who may read them, and that a crash leaves the old one or the new one.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// Who may read a file besides root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everybody: certificates.
    Everybody,
    /// Its owner, whoever that is, and its group: the key of a certificate that somebody else keeps up to date.
    Group,
    /// The user that runs this: every other secret. A file of another user is refused, who could change it.
    Owner,
}

/// A file that was read. It stays open, so that the file system gives its inode number to no other file and
/// [`Self::is_current`] never takes a new file for this one, however quickly they follow each other.
#[derive(Debug)]
pub struct ReadFile {
    path: PathBuf,
    stamp: Stamp,
    _open: File,
}

/// What changes when a file is replaced or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl ReadFile {
    /// Whether the path still leads to what was read.
    pub fn is_current(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a file of `longest` bytes at most, into memory that wipes itself. Symbolic links are followed, because mounted
/// volumes are made of them; what is checked is the file that was opened.
///
/// # Errors
///
/// Anything but a regular file, one that more than `readers` may read or change, and one that is longer.
pub fn read(
    path: &Path,
    readers: Readers,
    longest: usize,
) -> Result<(Zeroizing<Vec<u8>>, ReadFile), FileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => FileError::Io { path: path.to_owned(), source },
    };
    let file = OpenOptions::new()
        .read(true)
        // The open of a FIFO would wait until somebody writes to it. A regular file does not notice.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check(path, &metadata, readers)?;
    // One allocation: growing would leave secrets behind in freed memory. And one byte more than may be there.
    let expected = usize::try_from(metadata.len()).unwrap_or(longest).min(longest);
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 64));
    (&file).take(longest as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > longest {
        return Err(FileError::TooLong { path: path.to_owned(), longest });
    }
    Ok((bytes, ReadFile { path: path.to_owned(), stamp: Stamp::of(&metadata), _open: file }))
}

/// Writes a file, over one that is there: its name stands for the old bytes or for the new ones, also after a power cut.
pub fn replace(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    written(path, bytes, readers)?.persist(path).map_err(|error| error.error)?;
    sync_directory_of(path)
}

/// The same where there is no file; `AlreadyExists` where there is one, also when it appears at the last moment.
pub fn create(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    written(path, bytes, readers)?.persist_noclobber(path).map_err(|error| error.error)?;
    sync_directory_of(path)
}

/// What names of unfinished files begin with; what they are to be called stands at their end.
const UNFINISHED: &str = ".keystead-";
/// Random characters between the two.
const RANDOM_LEN: usize = 6;
/// Longest name that stands at the end, in bytes: with the rest it is no longer than a name may be.
const MAX_TOLD: usize = 200;

/// An empty file in the same directory, because only there a rename cannot fail halfway. It is gone when it is dropped. Of
/// `mode` the umask takes away.
pub fn beside(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    elsewhere(directory_of(path), path, mode)
}

/// The same in another directory of the same file system, because that of `path` is watched.
pub fn elsewhere(directory: &Path, path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let name = path.file_name().and_then(|it| it.to_str()).filter(|it| it.len() <= MAX_TOLD);
    tempfile::Builder::new()
        .prefix(UNFINISHED)
        .rand_bytes(RANDOM_LEN)
        .suffix(&name.map(|it| format!("-{it}")).unwrap_or_default())
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory)
}

/// What an unfinished file was to be called; none: the name is of another kind.
pub fn unfinished(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(UNFINISHED)?;
    rest.get(RANDOM_LEN..)?.strip_prefix('-')
}

/// Removes what a process that was killed has left unfinished in a directory that only the caller writes to, and answers how
/// much there was: it may hold secrets.
pub fn remove_unfinished(directory: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let left = entry.file_name().to_str().is_some_and(|it| it.starts_with(UNFINISHED));
        if left && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Makes the name of a file outlive a power cut.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn written(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<NamedTempFile> {
    let mode = match readers {
        Readers::Everybody => 0o644,
        Readers::Group => 0o640,
        Readers::Owner => 0o600,
    };
    let mut file = beside(path, mode)?;
    file.write_all(bytes)?;
    // Not what the umask left of it.
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Where a file is; `.` for a name alone.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses anything but a regular file, and one that more than `readers` may read or change; `metadata` is that of the open file.
pub fn check(path: &Path, metadata: &Metadata, readers: Readers) -> Result<(), FileError> {
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    let closed_to = match readers {
        Readers::Everybody => 0,
        Readers::Group => 0o007,
        Readers::Owner => 0o077,
    };
    if mode & closed_to != 0 {
        return Err(FileError::Mode { path: path.to_owned(), mode });
    }
    if readers == Readers::Owner && !is_ours(metadata) {
        return Err(FileError::Owner { path: path.to_owned(), owner: metadata.uid() });
    }
    Ok(())
}

/// Whether it belongs to root or to the user that runs this: nobody else can decide who may use it.
pub fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == rustix::process::geteuid().as_raw()
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
    /// No file of its kind is that long.
    #[error("{} is too long: it may have {longest} bytes at most", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that it may have, in bytes.
        longest: usize,
    },
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { source, .. } => source,
            FileError::Missing(_) => Self::new(io::ErrorKind::NotFound, error),
            FileError::TooLong { .. } => Self::new(io::ErrorKind::InvalidData, error),
            FileError::Mode { .. } | FileError::NotAFile(_) | FileError::Owner { .. } => {
                Self::new(io::ErrorKind::PermissionDenied, error)
            }
        }
    }
}

impl FileError {
    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Mode { path, .. } => Some(format!(
                "run `chmod 0600 {}`, and replace what is in it if others have read it",
                path.display()
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        (directory, path)
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("metadata").permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_written_whole_with_its_mode_and_nothing_is_left_beside_it() {
        let (directory, path) = directory();
        create(&path, b"one", Readers::Owner).expect("created");
        assert_eq!((mode(&path), fs::read(&path).expect("read")), (0o600, b"one".to_vec()));
        let taken = create(&path, b"two", Readers::Owner).expect_err("it is there");
        assert_eq!(
            (taken.kind(), fs::read(&path).expect("read")),
            (io::ErrorKind::AlreadyExists, b"one".to_vec())
        );
        for (readers, bits) in [(Readers::Everybody, 0o644), (Readers::Group, 0o640), (Readers::Owner, 0o600)]
        {
            replace(&path, b"three", readers).expect("replaced");
            assert_eq!((mode(&path), fs::read(&path).expect("read")), (bits, b"three".to_vec()));
            read(&path, readers, 5).expect("what is written can be read");
        }
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
    }

    #[test]
    fn what_more_than_its_readers_can_use_is_refused() {
        let (_directory, path) = directory();
        fs::write(&path, "text").expect("written");
        for bits in [0o600, 0o400, 0o640, 0o620, 0o604, 0o602, 0o601, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(bits)).expect("set");
            for (readers, closed_to) in
                [(Readers::Everybody, 0), (Readers::Group, 0o007), (Readers::Owner, 0o077)]
            {
                match read(&path, readers, 100) {
                    Ok((bytes, _)) => {
                        assert!(bits & closed_to == 0 && *bytes == b"text", "{bits:o} {readers:?}")
                    }
                    Err(error) => {
                        assert!(bits & closed_to != 0, "{bits:o} {readers:?}: {error}");
                        assert!(matches!(error, FileError::Mode { mode, .. } if mode == bits), "{error}");
                    }
                }
            }
        }
    }

    #[test]
    fn only_a_regular_file_of_a_bounded_length_is_read() {
        let (directory, path) = directory();
        let read = |path: &Path| read(path, Readers::Everybody, 4);
        assert!(matches!(read(&path), Err(FileError::Missing(_))));
        assert!(matches!(read(directory.path()), Err(FileError::NotAFile(_))));
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("made");
        assert!(matches!(read(&fifo), Err(FileError::NotAFile(_))));
        fs::write(&path, "four").expect("written");
        assert_eq!(*read(&path).expect("short enough").0, b"four");
        fs::write(&path, "five.").expect("written");
        assert!(matches!(read(&path), Err(FileError::TooLong { longest: 4, .. })));
    }

    #[test]
    fn a_file_that_was_read_notices_its_successor() {
        let (_directory, path) = directory();
        create(&path, b"text", Readers::Owner).expect("created");
        let (_, file) = read(&path, Readers::Owner, 4).expect("read");
        assert!(file.is_current());
        replace(&path, b"text", Readers::Owner).expect("replaced");
        assert!(!file.is_current());
        fs::remove_file(&path).expect("removed");
        assert!(!file.is_current());
    }
}
