//! Getting bytes out of every file of the database, after the commits that deleted them. SQLite overwrites what is deleted,
//! where it was; but when it split pages before, copies are left in their unused parts. So the whole file is searched for pages
//! whose unused parts are not all zeros, by a thread that holds up no commit, and then those parts are overwritten, a few pages
//! between two commits.
//!
//! Why nothing escapes: copies are only in pages that are not clean. While the search goes on, and between two steps, a reader sees to it
//! that nothing is moved from the log into the file. So every page that is written meanwhile, and to which SQLite may have
//! moved a copy, is in the log when the next step begins, and that step takes it for one that is not clean.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keystead_model::ErrorClass;
use keystead_store::StoreError;
use rusqlite::Connection;

use crate::connection::{self, checkpoint};
use crate::fault::Fault;
use crate::residue::{self, Pages};
use crate::store::Shared;

/// Pages that are overwritten between two commits besides those that the commits wrote: 2 MiB, some milliseconds.
const STEP: usize = 512;

/// How long a checkpoint waits for readers before other commits get their turn.
const TURN: Duration = Duration::from_millis(20);

/// How often a search is asked whether it is done.
const POLL: Duration = Duration::from_millis(20);

/// Batches that go on coming do not put an erasure off by more than so many delays.
const MOST_DELAYS: u32 = 10;

/// After a failure; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Bytes that have to go.
#[derive(Default)]
pub(crate) struct Erasure {
    state: State,
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
    /// Some were deleted, and nothing was done yet.
    Wanted,
    Searching {
        found: JoinHandle<Result<Pages, StoreError>>,
        still: Connection,
    },
    /// These pages, and those in the log, may not be clean.
    Overwriting {
        pages: Pages,
        still: Connection,
    },
}

impl Erasure {
    /// What an earlier connection or process left open.
    pub(crate) fn resume(&mut self, shared: &Shared, connection: &Connection) -> Result<(), Fault> {
        let open: bool =
            connection.query_row("SELECT EXISTS (SELECT 1 FROM erasing)", [], |row| row.get(0))?;
        self.state = if open { State::Wanted } else { State::Nothing };
        shared.erasing.store(open, Ordering::Release);
        Ok(())
    }

    /// More bytes have to go. The batch that deleted them is committed. What is under way includes them: they were where SQLite
    /// has overwritten them, in pages that are in the log, or in pages that are not clean.
    pub(crate) fn add(&mut self, shared: &Shared) {
        shared.erasing.store(true, Ordering::Release);
        if matches!(self.state, State::Searching { .. } | State::Overwriting { .. }) {
            return;
        }
        self.state = State::Wanted;
        let (now, delay) = (Instant::now(), shared.settings.erase_delay);
        let latest = *self.since.get_or_insert(now) + delay * MOST_DELAYS;
        self.begin_at = Some((now + delay).min(latest));
        self.pause = FIRST_RETRY;
    }

    /// When to come back, if nothing else is to be done.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self.state {
            State::Nothing => None,
            State::Wanted => {
                Some(self.begin_at.map_or(Duration::ZERO, |it| it.saturating_duration_since(Instant::now())))
            }
            State::Searching { .. } => Some(POLL),
            State::Overwriting { .. } => Some(Duration::ZERO),
        }
    }

    /// Goes one step further, without holding up commits for long.
    pub(crate) fn advance(&mut self, shared: &Arc<Shared>, connection: &Connection) -> Result<(), Fault> {
        match std::mem::replace(&mut self.state, State::Wanted) {
            State::Nothing => self.state = State::Nothing,
            State::Wanted if self.begin_at.is_some_and(|it| it > Instant::now()) => {}
            State::Wanted => self.begin(shared, connection)?,
            State::Searching { found, still } if !found.is_finished() => {
                self.state = State::Searching { found, still };
            }
            State::Searching { found, still } => {
                let panicked =
                    |_| Err(StoreError::new(ErrorClass::Bug, "the search for erased bytes panicked"));
                let pages = found.join().unwrap_or_else(panicked).map_err(Fault::Store)?;
                self.overwrite(shared, connection, pages, still)?;
            }
            State::Overwriting { pages, still } => self.overwrite(shared, connection, pages, still)?,
        }
        Ok(())
    }

    /// Tries once more at the end of the process. What is left is erased at the next start.
    pub(crate) fn last_try(&mut self, shared: &Arc<Shared>, connection: &Connection) -> Result<(), Fault> {
        self.begin_at = None;
        self.advance(shared, connection)?;
        while let State::Searching { .. } | State::Overwriting { .. } = self.state {
            if matches!(self.state, State::Searching { .. }) {
                thread::sleep(POLL);
            }
            self.advance(shared, connection)?;
        }
        Ok(())
    }

    /// Lets the log be emptied by whoever asks for that.
    pub(crate) fn begin_anew(&mut self) {
        if matches!(self.state, State::Searching { .. } | State::Overwriting { .. }) {
            self.state = State::Wanted;
        }
    }

    /// It cannot be done now.
    pub(crate) fn give_up(&mut self) {
        self.state = State::Wanted;
        self.retry_later();
    }

    fn retry_later(&mut self) {
        self.begin_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).clamp(FIRST_RETRY, LAST_RETRY);
    }

    fn begin(&mut self, shared: &Arc<Shared>, connection: &Connection) -> Result<(), Fault> {
        if !empty_the_log(connection)? {
            self.retry_later();
            return Ok(());
        }
        let (still, page_len) = (hold_still(shared)?, residue::page_len(connection)?);
        let shared = Arc::clone(shared);
        let search = thread::Builder::new().name("store-erase".into());
        let found = search.spawn(move || residue::search(&shared, page_len)).map_err(|error| {
            let text = format!("cannot start a search: {error}");
            Fault::Store(StoreError::new(ErrorClass::Unavailable, text))
        })?;
        self.state = State::Searching { found, still };
        self.since = None;
        Ok(())
    }

    fn overwrite(
        &mut self,
        shared: &Shared,
        connection: &Connection,
        mut pages: Pages,
        still: Connection,
    ) -> Result<(), Fault> {
        let page_len = residue::page_len(connection)?;
        let logged = residue::in_the_log(shared, page_len)?;
        // As many as came, and some more, so that it comes to an end however many commits there are.
        let most = logged.len() + STEP;
        pages.extend(logged);
        drop(still);
        if !empty_the_log(connection)? {
            // From now on something may be moved behind our back, so it begins anew.
            self.retry_later();
            return Ok(());
        }
        // Or a page that this connection remembers would be written again as it was.
        connection.execute_batch("PRAGMA shrink_memory")?;
        residue::overwrite(shared, page_len, &mut pages, most)?;
        if !pages.is_empty() {
            self.state = State::Overwriting { pages, still: hold_still(shared)? };
            return Ok(());
        }
        connection.execute("DELETE FROM erasing", [])?;
        self.state = State::Nothing;
        shared.erasing.store(false, Ordering::Release);
        Ok(())
    }
}

/// A reader that began while the log was empty: as long as it reads, nothing is moved from the log into the file, and the log does
/// not begin anew. Commits go on in it.
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
