//! Replacing a file that a person owns.
//!
//! The new text gets the old one's owner, group and mode, and takes its name in one step, from a directory that nothing watches: the
//! kubelet starts a pod for every file in its manifest directory (k8s-contract 5.2). The old text is kept elsewhere first. Extended
//! attributes are not carried over: a file of another security label is to be relabelled by `restorecon`.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use keystead_crypto::sha256;
use keystead_runtime::whole_file::{self, FileError, Readers};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// Directories for files on their way: ours alone, because keys are in those files and a rename trusts them. Either is made if it is
/// absent, and refused if others can use it or if it is the directory of what is written, which may be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// On the file system of what is written: new text is made there.
    pub staging: PathBuf,
    /// For what was replaced.
    pub previous: PathBuf,
}

impl Places {
    /// Removes what a process that was killed has left half-written, which may hold keys, and answers how much there was. To be called
    /// before the first file is written, and while nobody else writes to these places: what another is about to finish would go too.
    pub fn remove_unfinished(&self) -> io::Result<usize> {
        let mut removed = 0;
        for directory in [&self.staging, &self.previous] {
            removed += match whole_file::remove_unfinished(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                answer => answer?,
            };
        }
        Ok(removed)
    }
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

    /// Its owner, group and mode.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Writes new text in its place; the answer is where the old text is kept. Does nothing, and answers none, if it is the same.
    ///
    /// # Errors
    ///
    /// The file was changed, removed or replaced since it was read, it is read-only, or the places do not fit. The file is then as it was. If
    /// only the last step fails, which makes the new name outlive a power cut, the error says so.
    pub fn replace(&self, new: &[u8], places: &Places) -> Result<Option<PathBuf>, OwnedFileError> {
        self.replaced(new, Staging::In(&places.staging), places, None)
    }

    /// The same, and a group that may not read it yet may from then on.
    ///
    /// # Errors
    ///
    /// As of [`Self::replace`].
    pub fn replace_for(
        &self,
        new: &[u8],
        places: &Places,
        group: Option<u32>,
    ) -> Result<Option<PathBuf>, OwnedFileError> {
        self.replaced(new, Staging::In(&places.staging), places, group)
    }

    /// As [`Self::replace`], with the new text made beside the old one, under a name that begins with a dot: for a directory whose reader
    /// passes over such names. Of the places only that for what was replaced counts.
    ///
    /// # Errors
    ///
    /// As of [`Self::replace`].
    pub fn replace_beside(&self, new: &[u8], places: &Places) -> Result<Option<PathBuf>, OwnedFileError> {
        self.replaced(new, Staging::Beside, places, None)
    }

    /// Whether [`Self::replace`] would find its places fit.
    ///
    /// # Errors
    ///
    /// As of [`Self::replace`].
    pub fn check(&self, places: &Places) -> Result<(), OwnedFileError> {
        self.check_places(Staging::In(&places.staging), places)
    }

    /// Whether [`Self::replace_beside`] and [`Self::remove`] would find their places fit.
    ///
    /// # Errors
    ///
    /// As of [`Self::replace`].
    pub fn check_beside(&self, places: &Places) -> Result<(), OwnedFileError> {
        self.check_places(Staging::Beside, places)
    }

    fn check_places(&self, staging: Staging<'_>, places: &Places) -> Result<(), OwnedFileError> {
        if self.metadata.mode() & 0o200 == 0 {
            return Err(OwnedFileError::ReadOnly(self.path.clone()));
        }
        check_staging(&self.path, staging)?;
        make(&places.previous)?;
        check_place(&self.path, &places.previous)
    }

    fn replaced(
        &self,
        new: &[u8],
        staging: Staging<'_>,
        places: &Places,
        group: Option<u32>,
    ) -> Result<Option<PathBuf>, OwnedFileError> {
        let mode = self.metadata.mode() & 0o7777 | if group.is_some() { GROUP_READS } else { 0 };
        let group = group.unwrap_or(self.metadata.gid());
        let is_for_it = (mode, group) == (self.metadata.mode() & 0o7777, self.metadata.gid());
        if new == self.bytes() && is_for_it {
            self.unchanged()?;
            return Ok(None);
        }
        self.check_places(staging, places)?;
        let previous = self.keep(&places.previous)?;
        let io = |action| move |source| OwnedFileError::Io { action, path: self.path.clone(), source };
        let file = staged(&self.path, staging, new).map_err(io("write the new text of"))?;
        let ours = file.as_file().metadata().map_err(io("write the new text of"))?;
        if (ours.uid(), ours.gid()) != (self.metadata.uid(), group) {
            fchown(file.as_file(), Some(self.metadata.uid()), Some(group))
                .map_err(io("keep the owner of"))?;
        }
        // After the owner: a change of owner takes bits away.
        file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(io("keep the mode of"))?;
        file.as_file().sync_all().map_err(io("write the new text of"))?;
        // As late as possible.
        self.unchanged()?;
        file.persist(&self.path).map_err(|error| io("replace")(error.error))?;
        whole_file::sync_directory_of(&self.path)
            .map_err(io("sync the directory, after it was replaced, of"))?;
        Ok(Some(previous))
    }

    /// Takes the file away; the answer is where its text is kept.
    ///
    /// # Errors
    ///
    /// As of [`Self::replace`]. The file is then as it was.
    pub fn remove(&self, places: &Places) -> Result<PathBuf, OwnedFileError> {
        let previous = self.keep(&places.previous)?;
        self.unchanged()?;
        let io = |action| move |source| OwnedFileError::Io { action, path: self.path.clone(), source };
        fs::remove_file(&self.path).map_err(io("remove"))?;
        whole_file::sync_directory_of(&self.path)
            .map_err(io("sync the directory, after it was removed, of"))?;
        Ok(previous)
    }

    /// Writes it again, as it was, where it was taken away. It is made beside its place.
    ///
    /// # Errors
    ///
    /// Something is there, or the operating system refuses.
    pub fn put_back(&self) -> Result<(), OwnedFileError> {
        let io = |source| OwnedFileError::Io { action: "put back", path: self.path.clone(), source };
        let file = staged(&self.path, Staging::Beside, &self.bytes).map_err(io)?;
        fchown(file.as_file(), Some(self.metadata.uid()), Some(self.metadata.gid())).map_err(io)?;
        let mode = Permissions::from_mode(self.metadata.mode() & 0o7777);
        file.as_file().set_permissions(mode).map_err(io)?;
        named(file, &self.path)
    }

    /// Refuses if what is there now is not what was read.
    fn unchanged(&self) -> Result<(), OwnedFileError> {
        let changed = || OwnedFileError::Changed(self.path.clone());
        let now = Self::read(&self.path, self.bytes.len()).map_err(|error| match error {
            OwnedFileError::Io { .. } | OwnedFileError::File(FileError::Io { .. }) => error,
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
        make(directory)?;
        check_place(&self.path, directory)?;
        let digest = hex::encode(sha256(&self.bytes));
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", digest.get(..16).unwrap_or_default()));
        let previous = directory.join(name);
        whole_file::replace(&previous, &self.bytes, Readers::Owner).map_err(io)?;
        Ok(previous)
    }
}

/// Writes a file where there is none, for its owner and, where one is given, for a group that may read it: it has both before it has its
/// name, because others may write to its directory.
///
/// # Errors
///
/// Something is there already, also when it appears at the last moment.
pub fn create(path: &Path, bytes: &[u8], places: &Places, group: Option<u32>) -> Result<(), OwnedFileError> {
    let io = |action| move |source| OwnedFileError::Io { action, path: path.to_owned(), source };
    check_absent(path)?;
    let staging = Staging::In(&places.staging);
    check_staging(path, staging)?;
    let file = staged(path, staging, bytes).map_err(io("write"))?;
    if group.is_some() {
        fchown(file.as_file(), None, group).map_err(io("give its group"))?;
        let mode = Permissions::from_mode(0o600 | GROUP_READS);
        file.as_file().set_permissions(mode).map_err(io("give its group"))?;
        file.as_file().sync_all().map_err(io("write"))?;
    }
    named(file, path)
}

/// Whether [`create`] would find its place fit. Its directory may be absent: it is made on the file system of the one above it.
///
/// # Errors
///
/// As of [`create`].
pub fn check_new(path: &Path, places: &Places) -> Result<(), OwnedFileError> {
    check_absent(path)?;
    check_staging(path, Staging::In(&places.staging))
}

/// As [`create`], for its owner alone, and made beside its place as in [`OwnedFile::replace_beside`].
///
/// # Errors
///
/// As of [`create`].
pub fn create_beside(path: &Path, bytes: &[u8]) -> Result<(), OwnedFileError> {
    check_absent(path)?;
    let file = staged(path, Staging::Beside, bytes);
    let io = |source| OwnedFileError::Io { action: "write", path: path.to_owned(), source };
    named(file.map_err(io)?, path)
}

fn check_absent(path: &Path) -> Result<(), OwnedFileError> {
    match path.symlink_metadata() {
        Ok(_) => Err(OwnedFileError::Exists(path.to_owned())),
        Err(_) => Ok(()),
    }
}

/// Gives it its name, which nothing may have.
fn named(file: NamedTempFile, path: &Path) -> Result<(), OwnedFileError> {
    let io = |action| move |source| OwnedFileError::Io { action, path: path.to_owned(), source };
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => OwnedFileError::Exists(path.to_owned()),
        _ => io("write")(error.error),
    })?;
    whole_file::sync_directory_of(path).map_err(io("sync the directory, after it was written, of"))
}

/// Where new text is made.
#[derive(Clone, Copy)]
enum Staging<'p> {
    /// In a directory of ours, because the other one is watched, or not ours.
    In(&'p Path),
    /// In the same directory, which whoever may write to it may write to anyway.
    Beside,
}

/// A mode's bit.
const GROUP_READS: u32 = 0o040;

/// Refuses a directory from which a file cannot be renamed to `path`.
fn check_staging(path: &Path, staging: Staging<'_>) -> Result<(), OwnedFileError> {
    let Staging::In(staging) = staging else { return Ok(()) };
    make(staging)?;
    if metadata(directory_above(path))?.dev() != metadata(staging)?.dev() {
        return Err(OwnedFileError::OtherFileSystem { path: path.to_owned(), staging: staging.to_owned() });
    }
    check_place(path, staging)
}

/// Refuses a directory that is not ours alone, and that of `path` itself.
fn check_place(path: &Path, place: &Path) -> Result<(), OwnedFileError> {
    let (directory, found) = (metadata(directory_above(path))?, metadata(place)?);
    if (directory.dev(), directory.ino()) == (found.dev(), found.ino()) {
        return Err(OwnedFileError::Inside(place.to_owned()));
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 || !whole_file::is_ours(&found) {
        return Err(OwnedFileError::NotOurs { path: place.to_owned(), owner: found.uid(), mode });
    }
    Ok(())
}

/// Its directory, or the first above that which is there.
fn directory_above(path: &Path) -> &Path {
    let directory = whole_file::directory_of(path);
    directory.ancestors().find(|it| it.exists()).unwrap_or(directory)
}

fn make(directory: &Path) -> Result<(), OwnedFileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| OwnedFileError::Io {
        action: "make the directory",
        path: directory.to_owned(),
        source,
    })
}

fn metadata(directory: &Path) -> Result<Metadata, OwnedFileError> {
    fs::metadata(directory).map_err(|source| OwnedFileError::Io {
        action: "use the directory",
        path: directory.to_owned(),
        source,
    })
}

/// A file that only we can read, and that goes away unless it gets another name.
fn staged(path: &Path, staging: Staging<'_>, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = match staging {
        Staging::In(directory) => whole_file::elsewhere(directory, path, 0o600)?,
        Staging::Beside => whole_file::beside(path, 0o600)?,
    };
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
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
    #[error("nothing else can be made in {}, because what is written belongs there: choose another directory", .0.display())]
    Inside(PathBuf),
    /// Others could read keys in it, or put something else in their place.
    #[error("{} belongs to uid {owner} and has mode {mode:04o}: it must belong to root or to the user that runs this, and be for its owner alone (`chmod 0700`)", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
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
    pub source: Box<E>,
}

impl OwnedFile {
    /// Names this file in an error.
    pub fn located<E: std::error::Error + 'static>(&self, source: E) -> InFile<E> {
        InFile { path: self.path.clone(), source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests;
