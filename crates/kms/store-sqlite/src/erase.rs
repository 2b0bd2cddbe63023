//! Getting bytes out of every file of the database. SQLite overwrites what is deleted, where it was; but when it split
//! pages before, copies are left in their unused parts. So the file is searched, and written anew when something is found.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use keystead_model::ErrorClass;
use keystead_store::{Revision, StoreError};
use memchr::memmem::Finder;
use rusqlite::Connection;

use crate::connection::checkpoint;
use crate::fault::Fault;
use crate::store::{Answer, Shared};

/// Bytes are searched in pieces, because SQLite may have overwritten a part or put a long value on several pages. A piece
/// of 16 bytes of sealed data does not occur twice by chance.
const PIECE: usize = 16;

/// With more pieces than that, writing the file anew is faster than searching it.
const MOST_PIECES: usize = 256;

/// How long a checkpoint waits for readers before other commits get their turn.
const TURN: Duration = Duration::from_millis(20);

/// After a failure without callers waiting; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Up to this size the file is written anew by way of memory, and above by way of a temporary file.
const IN_MEMORY: u64 = 64 << 20;

/// Bytes that have to go, and who waits for that.
#[derive(Default)]
pub(crate) struct Erasure {
    state: State,
    waiting: Vec<Waiting>,
    /// After a failure: how long to leave it alone, and until when.
    pause: Option<(Duration, Instant)>,
}

#[derive(Default)]
enum State {
    #[default]
    Nothing,
    /// These pieces are deleted, and are or were in the log.
    Pieces(Vec<Vec<u8>>),
    /// Nobody remembers which bytes.
    Unknown,
}

struct Waiting {
    revision: Revision,
    answer: Answer<Revision>,
    until: Instant,
}

impl Erasure {
    /// What an earlier connection or process left open.
    pub(crate) fn resume(&mut self, connection: &Connection) -> Result<(), Fault> {
        let open: bool =
            connection.query_row("SELECT EXISTS (SELECT 1 FROM erasing)", [], |row| row.get(0))?;
        if open {
            self.state = State::Unknown;
        }
        Ok(())
    }

    /// More bytes that have to go.
    pub(crate) fn add(&mut self, values: Vec<Vec<u8>>) {
        for value in values {
            // From its end, because a beginning is often a header that many values share.
            let pieces = value.rchunks_exact(PIECE).map(<[u8]>::to_vec);
            match &mut self.state {
                State::Unknown => {}
                State::Nothing => self.state = State::Pieces(pieces.collect()),
                State::Pieces(known) => known.extend(pieces),
            }
            // A short value is found anywhere, or nowhere for sure.
            if value.len() < PIECE && !value.is_empty() {
                self.state = State::Unknown;
            }
        }
    }

    /// Answers with this revision once everything is gone.
    pub(crate) fn wait(&mut self, revision: Revision, answer: Answer<Revision>, patience: Duration) {
        if matches!(self.state, State::Nothing) {
            self.state = State::Pieces(Vec::new());
        }
        let until = Instant::now() + patience;
        self.waiting.push(Waiting { revision, answer, until });
        self.pause = None;
    }

    /// When to come back, if nothing else is to be done.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self.state {
            State::Nothing => None,
            _ if !self.waiting.is_empty() => Some(Duration::from_millis(5)),
            _ => Some(self.pause.map_or(Duration::ZERO, |(_, until)| until.duration_since(Instant::now()))),
        }
    }

    /// Goes as far as readers allow, and answers those who waited for it or have waited too long.
    pub(crate) fn advance(&mut self, shared: &Shared, connection: &Connection) -> Result<(), Fault> {
        let paused = self.waiting.is_empty() && self.pause.is_some_and(|(_, until)| until > Instant::now());
        if matches!(self.state, State::Nothing) || paused {
            return Ok(());
        }
        if self.try_erase(shared, connection)? {
            self.state = State::Nothing;
            self.pause = None;
            for Waiting { revision, answer, .. } in self.waiting.drain(..) {
                drop(answer.send(Ok(revision)));
            }
            return Ok(());
        }
        if self.waiting.is_empty() {
            self.retry_later();
        }
        let now = Instant::now();
        let text = "the batch is written, but its old bytes are still in the log, which somebody reads";
        let error = Fault::Store(StoreError::new(ErrorClass::Unavailable, text)).told(&shared.path);
        for Waiting { answer, .. } in self.waiting.extract_if(.., |waiting| waiting.until <= now) {
            drop(answer.send(Err(error.clone())));
        }
        Ok(())
    }

    /// It cannot be done now.
    pub(crate) fn give_up(&mut self, error: &StoreError) {
        if matches!(self.state, State::Nothing) {
            return;
        }
        self.retry_later();
        let text = format!("the batch is written, but its old bytes may still be in a file: {error}");
        for Waiting { answer, .. } in self.waiting.drain(..) {
            drop(answer.send(Err(StoreError::new(ErrorClass::Unavailable, text.as_str()))));
        }
    }

    fn retry_later(&mut self) {
        let pause = self.pause.map_or(FIRST_RETRY, |(pause, _)| (pause * 2).min(LAST_RETRY));
        self.pause = Some((pause, Instant::now() + pause));
    }

    fn try_erase(&mut self, shared: &Shared, connection: &Connection) -> Result<bool, Fault> {
        if !empty_the_log(connection)? {
            return Ok(false);
        }
        let anew = match &self.state {
            State::Nothing => false,
            State::Unknown => true,
            State::Pieces(pieces) => found(shared, pieces)?,
        };
        if anew {
            let size = shared.files.database.metadata().map_or(u64::MAX, |metadata| metadata.len());
            let store = if size <= IN_MEMORY { "MEMORY" } else { "FILE" };
            connection.execute_batch(&format!("PRAGMA temp_store = {store}; VACUUM;"))?;
            self.state = State::Pieces(Vec::new());
            if !empty_the_log(connection)? {
                return Ok(false);
            }
        }
        connection.execute("DELETE FROM erasing", [])?;
        Ok(true)
    }
}

fn empty_the_log(connection: &Connection) -> Result<bool, Fault> {
    let ordinary: i64 = connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0))?;
    connection.busy_timeout(TURN)?;
    let emptied = checkpoint(connection);
    connection.busy_timeout(Duration::from_millis(u64::try_from(ordinary).unwrap_or_default()))?;
    emptied
}

/// Whether one of the pieces is in the database file.
fn found(shared: &Shared, pieces: &[Vec<u8>]) -> Result<bool, Fault> {
    if pieces.is_empty() || pieces.len() > MOST_PIECES {
        return Ok(!pieces.is_empty());
    }
    let finders: Vec<Finder<'_>> = pieces.iter().map(Finder::new).collect();
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    loop {
        let read = shared.files.database.read_at(&mut buffer, position).map_err(|error| {
            let text = format!("cannot be read: {error}");
            Fault::Store(StoreError::new(ErrorClass::Unavailable, text))
        })?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if finders.iter().any(|finder| finder.find(bytes).is_some()) {
            return Ok(true);
        }
        if read < PIECE {
            return Ok(false);
        }
        // What crosses the border is seen whole by the next read.
        position += (read - (PIECE - 1)) as u64;
    }
}
