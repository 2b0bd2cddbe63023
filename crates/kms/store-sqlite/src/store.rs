use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use keystead_model::ErrorClass;
use keystead_store::{Batch, Changes, Entry, MAX_NAME_LEN, Pending, Revision, Store, StoreError};
use rusqlite::{Connection, InterruptHandle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::fault::Fault;
use crate::files::{self, Files};
use crate::place::Place;
use crate::queue::Queue;
use crate::reader::{self, Read};
use crate::settings::SqliteSettings;
use crate::writer::{self, Write};
use crate::{checks, connection};

/// Calls under way, of each kind. What is beyond waits at the caller's side, where it can be given up.
const MOST_UNDER_WAY: usize = 1024;

/// Records in one SQLite database, with a lock file beside it as long as it is open.
///
/// Dropping it finishes the commits that were handed over, and waits for that.
pub struct SqliteStore {
    pub(crate) shared: Arc<Shared>,
    reads_under_way: Arc<Semaphore>,
    writes_under_way: Arc<Semaphore>,
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    check: Option<(InterruptHandle, JoinHandle<()>)>,
}

/// What the threads of one store have in common.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) settings: SqliteSettings,
    pub(crate) files: Files,
    place: Place,
    pub(crate) reads: Queue<Job<Read>>,
    pub(crate) writes: Queue<Job<Write>>,
    /// The last confirmed commit.
    pub(crate) newest: AtomicU64,
    /// Bytes of a committed batch may still be in a file.
    pub(crate) erasing: AtomicBool,
    /// The last write failed.
    pub(crate) failed: AtomicBool,
    /// What a check found wrong. From then on nothing is answered.
    damage: OnceLock<StoreError>,
}

/// Something to do, and the place that it takes among the calls under way.
pub(crate) struct Job<T> {
    pub(crate) task: T,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl SqliteStore {
    /// Fails where [`open`](Self::open) would, because of what stands at `path`, or because of owner or mode of the file or its
    /// folder. Makes, opens and locks nothing, so that it can be asked beside a server that has the database. A folder or a
    /// database that is not there is good.
    pub fn check(path: &Path) -> Result<(), StoreError> {
        files::judge(path)
    }

    /// Opens the database at `path` for this process alone, and creates it when there is none.
    ///
    /// Takes time and blocks; it is for the start of a server. Its folder must be ours and closed to others. A database that
    /// is small enough is checked in full first, a larger one while it serves.
    pub fn open(path: &Path, settings: SqliteSettings) -> Result<Self, StoreError> {
        let files = files::take(path)?;
        let into_store_error = |fault: Fault| fault.into_store_error(path);
        let connection = connection::writer(path).map_err(into_store_error)?;
        let newest = writer::newest(&connection).map_err(into_store_error)?;
        let size = files.database.metadata().map_or(u64::MAX, |metadata| metadata.len());
        if size <= settings.checked_first {
            checks::whole(&connection).map_err(into_store_error)?;
        }
        let anchor = connection::reader(path).map_err(into_store_error)?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            settings,
            files,
            place: Place::of(path)?,
            reads: Queue::new(),
            writes: Queue::new(),
            newest: AtomicU64::new(newest.0),
            erasing: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            damage: OnceLock::new(),
        });
        let mut store = Self {
            shared: shared.clone(),
            reads_under_way: Arc::new(Semaphore::new(MOST_UNDER_WAY)),
            writes_under_way: Arc::new(Semaphore::new(MOST_UNDER_WAY)),
            readers: Vec::new(),
            writer: None,
            check: None,
        };
        if size > shared.settings.checked_first {
            let connection = connection::reader(path).map_err(into_store_error)?;
            let handle = connection.get_interrupt_handle();
            let checking = spawn("store-check", &shared, move |shared| shared.check(&connection))?;
            store.check = Some((handle, checking));
        }
        store.writer =
            Some(spawn("store-write", &shared, move |shared| writer::run(shared, connection, anchor))?);
        for _ in 0..shared.settings.readers.max(1) {
            let connection = connection::reader(path).map_err(into_store_error)?;
            store.readers.push(spawn("store-read", &shared, |shared| reader::run(shared, connection))?);
        }
        Ok(store)
    }

    /// The number of the last confirmed commit, from memory.
    pub fn commit_counter(&self) -> Revision {
        Revision(self.shared.newest.load(Ordering::Acquire))
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Moves everything into the database file, and cuts its log to nothing.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        self.write(|answer| Write::Checkpoint { answer }).await
    }

    pub(crate) async fn read<T>(&self, task: impl FnOnce(Answer<T>) -> Read) -> Result<T, StoreError> {
        self.shared.is_sound()?;
        let (answer, answered) = oneshot::channel();
        let permit = place(&self.reads_under_way).await?;
        self.shared.reads.push(Job { task: task(answer), _permit: permit });
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn write<T>(&self, task: impl FnOnce(Answer<T>) -> Write) -> Result<T, StoreError> {
        self.shared.is_sound()?;
        let (answer, answered) = oneshot::channel();
        let permit = place(&self.writes_under_way).await?;
        self.shared.writes.push(Job { task: task(answer), _permit: permit });
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Where the answer to a call goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

impl Store for SqliteStore {
    fn get<'a>(&'a self, name: &'a str) -> Pending<'a, Option<Entry>> {
        Box::pin(async move {
            if name.len() > MAX_NAME_LEN {
                return Ok(None);
            }
            self.read(|answer| Read::Get { name: name.to_owned(), answer }).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> Pending<'a, Vec<Entry>> {
        Box::pin(self.read(move |answer| Read::List {
            prefix: prefix.to_owned(),
            after: after.to_owned(),
            limit,
            answer,
        }))
    }

    fn count<'a>(&'a self, prefix: &'a str) -> Pending<'a, u64> {
        Box::pin(self.read(move |answer| Read::Count { prefix: prefix.to_owned(), answer }))
    }

    fn commit(&self, batch: Batch) -> Pending<'_, Revision> {
        Box::pin(async move {
            batch.check()?;
            self.write(|answer| Write::Commit { batch, answer }).await
        })
    }

    fn changes(&self, since: Revision) -> Pending<'_, Changes> {
        Box::pin(self.read(move |answer| Read::Changes { since, answer }))
    }

    fn writable(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.read(|answer| Read::InPlace { answer }).await?;
            if self.shared.failed.load(Ordering::Acquire) {
                self.write(|answer| Write::Try { answer }).await
            } else {
                Ok(())
            }
        })
    }

    fn is_erasing(&self) -> bool {
        self.shared.erasing.load(Ordering::Acquire)
    }
}

impl Shared {
    fn is_sound(&self) -> Result<(), StoreError> {
        self.damage.get().map_or(Ok(()), |damage| Err(damage.clone()))
    }

    /// Whether what is written now is in the files that the next start will find. Asked before each write, and before anything is
    /// opened again, which would otherwise be another database.
    pub(crate) fn is_in_place(&self) -> Result<(), Fault> {
        self.place.check().map_err(Fault::Store)
    }

    fn check(&self, connection: &Connection) {
        let Err(fault) = checks::whole(connection) else { return };
        let error = fault.into_store_error(&self.path);
        if error.class() == ErrorClass::Corrupt {
            tracing::error!(%error, "the check of the database found damage; nothing is served from it any more");
            // Set once, here.
            self.damage.get_or_init(|| error);
        } else {
            tracing::warn!(%error, "the check of the database was not finished");
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if let Some((interrupt, checking)) = self.check.take() {
            interrupt.interrupt();
            finish(checking);
        }
        self.shared.reads.close();
        self.readers.drain(..).for_each(finish);
        // The last connection: closing it moves the log into the database.
        self.shared.writes.close();
        self.writer.take().into_iter().for_each(finish);
    }
}

fn finish(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    run: impl FnOnce(&Arc<Shared>) + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let shared = shared.clone();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared)).map_err(|error| {
        let text = format!("cannot start a thread of the store: {error}");
        StoreError::new(ErrorClass::Unavailable, text).caused_by(error)
    })
}

/// A bug that one call finds must not leave all later ones without a thread that answers.
pub(crate) fn unless_it_panics<T>(serve: impl FnOnce() -> T) -> Option<T> {
    // What is used again afterwards is whole: the queue, and an erasure that starts over from the database.
    let served = catch_unwind(AssertUnwindSafe(serve));
    if served.is_err() {
        tracing::error!("a call made a thread of the store panic; it goes on with a new connection");
    }
    served.ok()
}

async fn place(under_way: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    under_way.clone().acquire_owned().await.map_err(|_| gone())
}

fn gone() -> StoreError {
    StoreError::new(
        ErrorClass::Unavailable,
        "the store gave no answer; whether a commit was written is not known",
    )
}
