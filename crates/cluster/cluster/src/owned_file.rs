//! Replacing a file that a person owns.
//!
//! The new text gets the old one's owner, group and mode, and takes its name in one step, from a directory that nothing watches: the
//! kubelet starts a pod for every file in its manifest directory (k8s-contract 5.2). The old text is kept elsewhere first. Extended
//! attributes are not carried over: a file of another security label is to be relabelled by `restorecon`.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use keystead_crypto::sha256;
use keystead_runtime::whole_file::{self, FileError, Readers};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// Where files are on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// A directory on the file system of what is written, and not the directory of a file that is written: new text is made there.
    pub staging: PathBuf,
    /// A directory of our own, made if it is absent, for what was replaced. It holds keys: only its owner can read it.
    pub previous: PathBuf,
}

/// A file as it was read.
pub struct OwnedFile {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
    metadata: Metadata,
}

impl OwnedFile {
    /// Reads a file of `longest` bytes at most.
    ///
    /// # Errors
    ///
    /// None is there, it is no regular file or too long, and a symbolic link: a rename would replace the link and not what it leads to.
    pub fn read(path: &Path, longest: usize) -> Result<Self, OwnedFileError> {
        let io = |source| OwnedFileError::Io { action: "read", path: path.to_owned(), source };
        if let Ok(target) = fs::read_link(path) {
            return Err(OwnedFileError::Link { path: path.to_owned(), target });
        }
        let (bytes, _) = whole_file::read(path, Readers::Everybody, longest)?;
        Ok(Self { path: path.to_owned(), bytes, metadata: fs::symlink_metadata(path).map_err(io)? })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes new text in its place; the answer is where the old text is kept. Does nothing, and answers none, if it is the same.
    ///
    /// # Errors
    ///
    /// The file was changed, removed or replaced since it was read, it is read-only, or the places do not fit. The file is then as it was. If
    /// only the last step fails, which makes the new name outlive a power cut, the error says so.
    pub fn replace(&self, new: &[u8], places: &Places) -> Result<Option<PathBuf>, OwnedFileError> {
        if new == self.bytes() {
            self.unchanged()?;
            return Ok(None);
        }
        if self.metadata.mode() & 0o200 == 0 {
            return Err(OwnedFileError::ReadOnly(self.path.clone()));
        }
        let staging = staging(&self.path, places)?;
        let previous = self.keep(&places.previous)?;
        let io = |action| move |source| OwnedFileError::Io { action, path: self.path.clone(), source };
        let file = staged(staging, new).map_err(io("write the new text of"))?;
        let ours = file.as_file().metadata().map_err(io("write the new text of"))?;
        if (ours.uid(), ours.gid()) != (self.metadata.uid(), self.metadata.gid()) {
            fchown(file.as_file(), Some(self.metadata.uid()), Some(self.metadata.gid()))
                .map_err(io("keep the owner of"))?;
        }
        // After the owner: a change of owner takes bits away.
        let mode = Permissions::from_mode(self.metadata.mode() & 0o7777);
        file.as_file().set_permissions(mode).map_err(io("keep the mode of"))?;
        file.as_file().sync_all().map_err(io("write the new text of"))?;
        // As late as possible.
        self.unchanged()?;
        file.persist(&self.path).map_err(|error| io("replace")(error.error))?;
        whole_file::sync_directory_of(&self.path)
            .map_err(io("sync the directory, after it was replaced, of"))?;
        Ok(Some(previous))
    }

    /// Refuses if what is there now is not what was read.
    fn unchanged(&self) -> Result<(), OwnedFileError> {
        let changed = || OwnedFileError::Changed(self.path.clone());
        let now = Self::read(&self.path, self.bytes.len()).map_err(|error| match error {
            OwnedFileError::Io { .. } => error,
            _ => changed(),
        })?;
        let same = now.metadata.uid() == self.metadata.uid()
            && now.metadata.gid() == self.metadata.gid()
            && now.metadata.mode() == self.metadata.mode()
            && *now.bytes == *self.bytes;
        if same { Ok(()) } else { Err(changed()) }
    }

    /// Keeps the old text under a name that its content decides, so that doing it again changes nothing.
    fn keep(&self, directory: &Path) -> Result<PathBuf, OwnedFileError> {
        let io =
            |source| OwnedFileError::Io { action: "keep the old text of", path: self.path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        let digest = sha256(&self.bytes);
        let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{digest}"));
        let previous = directory.join(name);
        whole_file::replace(&previous, &self.bytes, Readers::Owner).map_err(io)?;
        Ok(previous)
    }
}

/// Writes a file where there is none, for its owner alone.
///
/// # Errors
///
/// Something is there already, also when it appears at the last moment.
pub fn create(path: &Path, bytes: &[u8], places: &Places) -> Result<(), OwnedFileError> {
    let io = |action| move |source| OwnedFileError::Io { action, path: path.to_owned(), source };
    if path.symlink_metadata().is_ok() {
        return Err(OwnedFileError::Exists(path.to_owned()));
    }
    let file = staged(staging(path, places)?, bytes).map_err(io("write"))?;
    file.as_file().sync_all().map_err(io("write"))?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => OwnedFileError::Exists(path.to_owned()),
        _ => io("write")(error.error),
    })?;
    whole_file::sync_directory_of(path).map_err(io("sync the directory, after it was written, of"))
}

/// The staging directory, if a file can be renamed from there to `path`.
fn staging<'p>(path: &Path, places: &'p Places) -> Result<&'p Path, OwnedFileError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OwnedFileError::Io { action: "use the directory", path, source }
    };
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let target = fs::metadata(directory).map_err(io(directory))?;
    let staging = fs::metadata(&places.staging).map_err(io(&places.staging))?;
    if target.dev() == staging.dev() && target.ino() == staging.ino() {
        return Err(OwnedFileError::StagingInside(places.staging.clone()));
    }
    if target.dev() != staging.dev() {
        return Err(OwnedFileError::OtherFileSystem {
            path: path.to_owned(),
            staging: places.staging.clone(),
        });
    }
    Ok(&places.staging)
}

/// A file that only we can read, and that goes away unless it gets another name.
fn staged(directory: &Path, bytes: &[u8]) -> io::Result<NamedTempFile<File>> {
    let mode = Permissions::from_mode(0o600);
    let mut file = tempfile::Builder::new().prefix(".keystead-").permissions(mode).tempfile_in(directory)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Why a file was not read, replaced or made.
#[derive(Debug, thiserror::Error)]
pub enum OwnedFileError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It leads to another file.
    #[error("{} is a symbolic link to {}: name that file, because a link would be replaced and not followed", path.display(), target.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// Somebody else was there.
    #[error("{} was changed since it was read, and was left as it is: run the command again", .0.display())]
    Changed(PathBuf),
    /// Nobody may write to it.
    #[error("{} is read-only, and was left as it is: run `chmod u+w` on it if it may be changed", .0.display())]
    ReadOnly(PathBuf),
    /// Something is there already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// It would be seen on its way.
    #[error("new files cannot be made in {}, because what is written belongs there: choose another directory", .0.display())]
    StagingInside(PathBuf),
    /// A rename would not work.
    #[error("{} is on another file system than {}: choose a directory on the same one", staging.display(), path.display())]
    OtherFileSystem {
        /// What is to be written.
        path: PathBuf,
        /// Where it is made.
        staging: PathBuf,
    },
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
}

/// An error about the text of a file, with the file's name.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct InFile<E: std::error::Error + 'static> {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and where in the text.
    pub source: E,
}

impl OwnedFile {
    /// Names this file in an error.
    pub fn located<E: std::error::Error + 'static>(&self, source: E) -> InFile<E> {
        InFile { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests;
