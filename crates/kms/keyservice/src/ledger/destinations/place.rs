//! One backup destination: whether it is still the directory that it was, and whether it holds every version.

use std::fs::{self, DirBuilder, OpenOptions};
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use tokio::sync::OwnedMutexGuard;

use super::on_disk;
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
    /// Whose turn it is to change files: a slow note of a state must not bring back a version that was forgotten meanwhile, or a
    /// state that another has followed. Kept until the disk is done, whoever waits for it.
    turn: Arc<tokio::sync::Mutex<()>>,
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
    /// made in the directory that stands there now. Where the database is an older one, it may not know that a place was used: an
    /// empty directory is refused then, until somebody says with the marker that it is a new one.
    pub(super) fn open(
        directory: &Path,
        identity: &str,
        used_before: bool,
        restored: bool,
    ) -> io::Result<Self> {
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
            turn: Arc::default(),
        };
        if used_before {
            return Ok(place);
        }
        match place.check() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !(restored && place.is_empty()) => {
                private_file::replace(&directory.join(MARKER), format!("{identity}\n").as_bytes())
                    .map_err(at(directory))?;
            }
            checked => checked?,
        }
        make(&place.versions).map_err(at(directory))?;
        Ok(place)
    }

    /// Whether it holds no version, for all that can be seen.
    fn is_empty(&self) -> bool {
        fs::read_dir(&self.versions).map_or(true, |mut versions| versions.next().is_none())
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

    /// Refuses what is no longer the same place. One whose folder `versions` is gone, because somebody has begun it anew, gets it
    /// back, and may lack every version.
    pub(crate) fn ready(&self) -> io::Result<()> {
        self.check()?;
        if !self.versions.is_dir() {
            make(&self.versions).map_err(at(&self.directory))?;
            let text = format!("{} was emptied", self.directory.display());
            tracing::warn!(text, "a backup destination is filled again");
            self.failed(text);
        }
        Ok(())
    }

    /// Does something with its folder `versions`, if it is still the same place. A failure shows until a comparison has seen that
    /// nothing is missing.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let work = || work(&self.versions).map_err(at(&self.directory));
        self.check().and_then(|()| work()).inspect_err(|error| self.failed(error.to_string()))
    }

    /// The same in its turn and on a thread of its own; in its turn `work` says what. A place that does not answer in time is told
    /// as one that may lack something; one that has not answered for long is not asked again, because each question keeps a
    /// thread.
    pub(super) async fn ask<T: Send + 'static, W>(
        self: &Arc<Self>,
        limit: Duration,
        work: impl Future<Output = io::Result<W>>,
    ) -> io::Result<T>
    where
        W: FnOnce(&Path) -> io::Result<T> + Send + 'static,
    {
        let asked = async {
            let turn = self.turn().await;
            let (place, work) = (Arc::clone(self), work.await?);
            on_disk(move || {
                let _until_the_disk_is_done = turn;
                place.with(work)
            })
            .await
        };
        let answered = match self.is_silent() {
            true => None,
            false => tokio::time::timeout(limit, asked).await.ok(),
        };
        answered
            .unwrap_or_else(|| {
                let text =
                    format!("{} did not answer within {} s", self.directory.display(), limit.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            })
            .inspect_err(|error| self.failed(error.to_string()))
    }

    /// Whose turn it is ends when this is dropped.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    fn is_silent(&self) -> bool {
        self.standing().asked.is_some_and(|asked| asked.elapsed() >= SILENCE_LIMIT)
    }

    pub(crate) fn failed(&self, problem: String) {
        let mut standing = self.standing();
        standing.failures += 1;
        standing.problem = Some(problem);
    }

    /// Why it may lack a version, in one sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.is_silent() {
            return Some(format!("{} does not answer", self.directory.display()));
        }
        self.standing().problem.clone()
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

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_place_that_does_not_answer_holds_nobody_up_and_is_compared_when_it_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Arc::new(Place::open(directory.path(), "identity", false, false).expect("opens"));
        assert!(place.complete(0));
        let (answer, hangs) = mpsc::channel::<()>();
        let hang = move |_: &Path| hangs.recv().map_err(io::Error::other);
        let limit = Duration::from_millis(50);
        let late = place.ask(limit, ready(Ok(hang))).await.expect_err("it hangs");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(place.problem().expect("told").contains("did not answer"));
        // The disk is still at it, so that the next one waits for its turn.
        let next = place.ask(limit, ready(Ok(|_: &Path| Ok(())))).await;
        assert_eq!(next.expect_err("not before").kind(), io::ErrorKind::TimedOut);
        answer.send(()).expect("somebody waits");
        place.ask(Duration::from_secs(60), ready(Ok(|_: &Path| Ok(())))).await.expect("it answers");
        assert!(place.problem().is_some(), "until it was compared");

        // One that is known to be silent is not asked at all.
        place.standing().asked = Some(Instant::now().checked_sub(SILENCE_LIMIT).expect("a time"));
        let never = |_: &Path| -> io::Result<()> { unreachable!() };
        let asked = place.ask(Duration::from_secs(60), ready(Ok(never)));
        assert_eq!(asked.await.expect_err("silent").kind(), io::ErrorKind::TimedOut);
    }
}
