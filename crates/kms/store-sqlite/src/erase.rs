//! Getting bytes out of every file of the database, after the commits that deleted them. SQLite overwrites what is deleted,
//! where it was; but when it split pages before, copies are left in their unused parts. So the file is searched, by a thread
//! that holds up no commit, and written anew when something is found.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keystead_model::ErrorClass;
use keystead_store::StoreError;
use memchr::memmem::Finder;
use rusqlite::Connection;

use crate::connection::{self, checkpoint};
use crate::fault::Fault;
use crate::store::Shared;

/// Bytes are searched in pieces, because SQLite may have overwritten a part or put a long value on several pages. A piece
/// of 16 bytes of sealed data does not occur twice by chance.
const PIECE: usize = 16;

/// With more pieces than that, all of them are looked for at once, which reads a file of gigabytes in seconds.
const MOST_FINDERS: usize = 64;
/// With more pieces than that, of 16 MiB, nobody remembers which.
const MOST_PIECES: usize = 1 << 20;

/// How long a checkpoint waits for readers before other commits get their turn.
const TURN: Duration = Duration::from_millis(20);

/// How often a search is asked whether it is done.
const POLL: Duration = Duration::from_millis(20);

/// Batches that go on coming do not put an erasure off by more than so many delays.
const MOST_DELAYS: u32 = 10;

/// After a failure; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Up to this size the file is written anew by way of memory, and above by way of a temporary file.
const IN_MEMORY: u64 = 64 << 20;

/// Bytes that have to go.
#[derive(Default)]
pub(crate) struct Erasure {
    state: State,
    search: Option<Search>,
    /// When the oldest of them was deleted.
    since: Option<Instant>,
    /// Not before that: what is destroyed together is erased together.
    begin_at: Option<Instant>,
    /// How long to leave it alone after the next failure.
    pause: Duration,
}

#[derive(Default)]
enum State {
    #[default]
    Nothing,
    /// These pieces are deleted, and are or were in the log.
    Pieces(Vec<[u8; PIECE]>),
    /// Nobody remembers which bytes.
    Unknown,
}

/// A thread that looks for pieces in the file.
struct Search {
    found: JoinHandle<Result<bool, StoreError>>,
    /// The newest batch whose pieces it looks for.
    through: i64,
}

impl Erasure {
    /// What an earlier connection or process left open.
    pub(crate) fn resume(&mut self, shared: &Shared, connection: &Connection) -> Result<(), Fault> {
        self.search = None;
        let open = newest_open(connection)?.is_some();
        self.state = if open { State::Unknown } else { State::Nothing };
        shared.erasing.store(open, Ordering::Release);
        Ok(())
    }

    /// More bytes that have to go. The batch that deleted them is committed.
    pub(crate) fn add(&mut self, shared: &Shared, values: &[Vec<u8>]) {
        for value in values {
            // From its end, because a beginning is often a header that many values share.
            let pieces = value.rchunks_exact(PIECE).filter_map(|piece| piece.try_into().ok());
            match &mut self.state {
                State::Unknown => {}
                State::Nothing => self.state = State::Pieces(pieces.collect()),
                State::Pieces(known) => known.extend(pieces),
            }
            // A short value is found anywhere, or nowhere for sure.
            let short = value.len() < PIECE && !value.is_empty();
            if short || matches!(&self.state, State::Pieces(known) if known.len() > MOST_PIECES) {
                self.state = State::Unknown;
            }
        }
        if matches!(self.state, State::Nothing) {
            self.state = State::Pieces(Vec::new());
        }
        shared.erasing.store(true, Ordering::Release);
        let (now, delay) = (Instant::now(), shared.settings.erase_delay);
        let latest = *self.since.get_or_insert(now) + delay * MOST_DELAYS;
        self.begin_at = Some((now + delay).min(latest));
        self.pause = FIRST_RETRY;
    }

    /// When to come back, if nothing else is to be done.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match (&self.search, &self.state) {
            (Some(_), _) => Some(POLL),
            (None, State::Nothing) => None,
            (None, _) => {
                Some(self.begin_at.map_or(Duration::ZERO, |it| it.saturating_duration_since(Instant::now())))
            }
        }
    }

    /// Goes as far as it can without holding up commits for long.
    pub(crate) fn advance(&mut self, shared: &Arc<Shared>, connection: &Connection) -> Result<(), Fault> {
        if let Some(Search { found, through }) = self.search.take_if(|it| it.found.is_finished()) {
            // A search that panicked has found nothing out.
            let anew = found.join().unwrap_or(Ok(true)).map_err(Fault::Store)?;
            return if anew {
                self.rewrite(shared, connection)
            } else {
                self.done(shared, connection, through)
            };
        }
        let waits = self.begin_at.is_some_and(|it| it > Instant::now());
        if self.search.is_some() || waits || matches!(self.state, State::Nothing) {
            return Ok(());
        }
        if !empty_the_log(connection)? {
            self.retry_later();
            return Ok(());
        }
        match std::mem::take(&mut self.state) {
            State::Pieces(pieces) => {
                let through = newest_open(connection)?.unwrap_or_default();
                let still = hold_still(shared)?;
                let shared = Arc::clone(shared);
                let search = thread::Builder::new().name("store-erase".into());
                let found = search.spawn(move || {
                    let found = found(&shared, &pieces);
                    drop(still);
                    found
                });
                let found = found.map_err(|error| {
                    let text = format!("cannot start a search: {error}");
                    Fault::Store(StoreError::new(ErrorClass::Unavailable, text))
                })?;
                self.search = Some(Search { found, through });
                self.since = None;
                Ok(())
            }
            State::Nothing | State::Unknown => self.rewrite(shared, connection),
        }
    }

    /// Tries once more at the end of the process. What is left is erased at the next start.
    pub(crate) fn last_try(&mut self, shared: &Arc<Shared>, connection: &Connection) -> Result<(), Fault> {
        self.begin_at = None;
        self.advance(shared, connection)?;
        while self.search.is_some() {
            thread::sleep(POLL);
            self.begin_at = None;
            self.advance(shared, connection)?;
        }
        Ok(())
    }

    /// It cannot be done now.
    pub(crate) fn give_up(&mut self) {
        self.state = State::Unknown;
        self.retry_later();
    }

    fn retry_later(&mut self) {
        self.begin_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).clamp(FIRST_RETRY, LAST_RETRY);
    }

    /// Writes the file anew, after which it holds nothing that is deleted.
    fn rewrite(&mut self, shared: &Shared, connection: &Connection) -> Result<(), Fault> {
        self.state = State::Unknown;
        let size = shared.files.database.metadata().map_or(u64::MAX, |metadata| metadata.len());
        let store = if size <= IN_MEMORY { "MEMORY" } else { "FILE" };
        connection.execute_batch(&format!("PRAGMA temp_store = {store}; VACUUM;"))?;
        if !empty_the_log(connection)? {
            // What is in the log then is the new file.
            self.state = State::Pieces(Vec::new());
            self.retry_later();
            return Ok(());
        }
        self.state = State::Nothing;
        self.since = None;
        self.done(shared, connection, i64::MAX)
    }

    fn done(&mut self, shared: &Shared, connection: &Connection, through: i64) -> Result<(), Fault> {
        connection.execute("DELETE FROM erasing WHERE revision <= ?1", [through])?;
        if newest_open(connection)?.is_none() {
            shared.erasing.store(false, Ordering::Release);
        }
        Ok(())
    }
}

/// The newest batch whose bytes may still be in a file.
fn newest_open(connection: &Connection) -> Result<Option<i64>, Fault> {
    Ok(connection.query_row("SELECT max(revision) FROM erasing", [], |row| row.get(0))?)
}

/// A reader that began while the log was empty: as long as it reads, nothing is moved from the log into the file, so that no copy
/// can get behind a search. Commits go on in the log.
fn hold_still(shared: &Shared) -> Result<Connection, Fault> {
    let reader = connection::reader(&shared.path)?;
    reader.execute_batch("BEGIN")?;
    reader.query_row("SELECT count(*) FROM erasing", [], |row| row.get::<_, i64>(0))?;
    Ok(reader)
}

fn empty_the_log(connection: &Connection) -> Result<bool, Fault> {
    let ordinary: i64 = connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0))?;
    connection.busy_timeout(TURN)?;
    let emptied = checkpoint(connection);
    connection.busy_timeout(Duration::from_millis(u64::try_from(ordinary).unwrap_or_default()))?;
    emptied
}

/// Whether one of the pieces is in the database file.
fn found(shared: &Shared, pieces: &[[u8; PIECE]]) -> Result<bool, StoreError> {
    if pieces.is_empty() {
        return Ok(false);
    }
    let few = pieces.len() <= MOST_FINDERS;
    let finders: Vec<Finder<'_>> = if few { pieces.iter().map(Finder::new).collect() } else { Vec::new() };
    let all: HashSet<&[u8]> =
        if few { HashSet::new() } else { pieces.iter().map(<[u8; PIECE]>::as_slice).collect() };
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    loop {
        let read = shared.files.database.read_at(&mut buffer, position).map_err(|error| {
            let text = format!("{} cannot be read: {error}", shared.path.display());
            StoreError::new(ErrorClass::Unavailable, text)
        })?;
        let bytes = buffer.get(..read).unwrap_or_default();
        let here = match few {
            true => finders.iter().any(|finder| finder.find(bytes).is_some()),
            false => bytes.windows(PIECE).any(|window| all.contains(window)),
        };
        if here {
            return Ok(true);
        }
        if read < PIECE {
            return Ok(false);
        }
        // What crosses the border is seen whole by the next read.
        position += (read - (PIECE - 1)) as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::DirBuilderExt;

    use keystead_store::{Batch, Store};

    use super::*;
    use crate::{SqliteSettings, SqliteStore};

    #[tokio::test]
    async fn while_it_is_searched_the_file_stands_still_and_commits_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        let path = path.join("records.db");
        let store = SqliteStore::open(&path, SqliteSettings::default()).unwrap();
        store.commit(Batch::default().put("first", vec![1; 5000])).await.unwrap();
        store.checkpoint().await.unwrap();
        let still = hold_still(&store.shared).unwrap();
        let before = std::fs::read(&path).unwrap();
        // More pages than SQLite leaves in its log by itself.
        for number in 0..40 {
            store.commit(Batch::default().put(format!("other/{number}"), vec![2; 200_000])).await.unwrap();
        }
        store.checkpoint().await.unwrap_err();
        assert!(std::fs::read(&path).unwrap() == before);
        drop(still);
        store.checkpoint().await.unwrap();
        assert!(std::fs::read(&path).unwrap() != before, "the control");
    }
}
