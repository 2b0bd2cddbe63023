//! One backup destination: whether it is still the directory that it was, and whether it holds every version.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::root::private_file;

/// Its file: the identity of the server, 32 hexadecimal digits and a line feed. More is not this server's.
const MAX_MARKER_LEN: u64 = 64;
/// In the directory. An empty directory, where a mount went away, has none; another server's has another one.
const MARKER: &str = "keystead-destination";
/// A disk that is silent for longer is told as missing: a network file system that hangs gives no error.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// A directory in which every version is kept.
pub(crate) struct Place {
    directory: PathBuf,
    /// Its folder `versions`.
    versions: PathBuf,
    /// As the marker has it.
    identity: String,
    standing: Mutex<Standing>,
}

struct Standing {
    /// Why it may lack a version; none: it holds every one, in its newest state.
    problem: Option<String>,
    /// Grows with each failure: a comparison that began before one may have missed what failed.
    failures: u64,
    /// When a comparison last asked the disk, while it waits for the answer.
    asked: Option<Instant>,
}

impl Place {
    /// A place that is used for the first time must be there, and is marked. One that was used before may be away: nothing is
    /// made in the directory that stands there now.
    pub(super) fn open(directory: &Path, identity: &str, used_before: bool) -> io::Result<Self> {
        let standing = Standing {
            problem: Some(format!("{} is not compared with the database yet", directory.display())),
            failures: 0,
            asked: None,
        };
        let place = Self {
            directory: directory.to_owned(),
            versions: directory.join("versions"),
            identity: identity.to_owned(),
            standing: Mutex::new(standing),
        };
        if used_before {
            return Ok(place);
        }
        match place.check() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                private_file::replace(&directory.join(MARKER), format!("{identity}\n").as_bytes())
                    .map_err(at(directory))?;
            }
            checked => checked?,
        }
        make(&place.versions).map_err(at(directory))?;
        Ok(place)
    }

    /// Refuses a directory that is not the one that was marked.
    fn check(&self) -> io::Result<()> {
        let (name, identity) = (self.directory.display(), &self.identity);
        let found = match read_marker(&self.directory.join(MARKER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = match self.directory.is_dir() {
                    true => format!(
                        "{name} has no file {MARKER}, so it is not the directory that was used; mount that one, or begin anew in \
                         this one with the line {identity} in that file"
                    ),
                    false => format!("{name} is not there; mount it, or put back the directory that it was"),
                };
                return Err(io::Error::new(io::ErrorKind::NotFound, text));
            }
            found => found.map_err(at(&self.directory))?,
        };
        if found.trim_ascii() == identity.as_bytes() {
            return Ok(());
        }
        let text = format!(
            "{name} belongs to another server: its file {MARKER} does not hold {identity}; name a directory that is this server's"
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }

    /// Refuses what is no longer the same place; makes its folder `versions` when somebody has begun it anew, and answers whether
    /// it did.
    pub(crate) fn ready(&self) -> io::Result<bool> {
        self.check()?;
        if self.versions.is_dir() {
            return Ok(false);
        }
        make(&self.versions).map_err(at(&self.directory))?;
        Ok(true)
    }

    /// Does something with its folder `versions`, if it is still the same place. A failure shows until a comparison has seen that
    /// nothing is missing.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let work = || work(&self.versions).map_err(at(&self.directory));
        self.check().and_then(|()| work()).inspect_err(|error| self.failed(error.to_string()))
    }

    pub(crate) fn failed(&self, problem: String) {
        let mut standing = self.standing();
        standing.failures += 1;
        standing.problem = Some(problem);
    }

    /// Why it may lack a version, in one sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        let standing = self.standing();
        let silent = standing.asked.is_some_and(|asked| asked.elapsed() >= SILENCE_LIMIT);
        let silence = || format!("{} does not answer", self.directory.display());
        if silent { Some(silence()) } else { standing.problem.clone() }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A comparison asks the disk, or has its answer.
    pub(crate) fn asks(&self, asks: bool) {
        self.standing().asked = asks.then(Instant::now);
    }

    pub(crate) fn failures(&self) -> u64 {
        self.standing().failures
    }

    /// A comparison has found and mended all that was missing. Answers whether nothing has failed since it began.
    pub(crate) fn complete(&self, failures_before: u64) -> bool {
        let mut standing = self.standing();
        let complete = standing.failures == failures_before;
        if complete {
            standing.problem = None;
        }
        complete
    }

    /// Nothing panics while it is held, so a poisoned lock has good content.
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not secret, and somebody may have written it by hand: its mode does not matter.
fn read_marker(path: &Path) -> io::Result<Vec<u8>> {
    // The open of a FIFO would wait for somebody.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut text = Vec::new();
    file.take(MAX_MARKER_LEN).read_to_end(&mut text)?;
    Ok(text)
}

pub(super) fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::metadata(folder)?.is_dir() => {
            Ok(())
        }
        made => made.and_then(|()| private_file::sync_directory_of(folder)),
    }
}

pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
