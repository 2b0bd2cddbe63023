//! The threads that read. A statement is one consistent view by itself, and sees every commit that was confirmed before it.

use keystead_store::{Changes, Entry, Revision, StoreError};
use rusqlite::{Connection, OptionalExtension, Statement};

use crate::connection;
use crate::fault::Fault;
use crate::folder::{counted, is_counted};
use crate::queue::Next;
use crate::record::{checksum, damaged, end_of, read, signed, start_of, unsigned};
use crate::store::{Answer, Job, Shared, unless_it_panics};

/// One call that reads.
pub(crate) enum Read {
    Get { name: String, answer: Answer<Option<Entry>> },
    List { prefix: String, after: String, limit: usize, answer: Answer<Vec<Entry>> },
    Count { prefix: String, answer: Answer<u64> },
    Changes { since: Revision, answer: Answer<Changes> },
    InPlace { answer: Answer<()> },
}

/// Serves reads until the queue is closed. After a fault it starts over with a new connection at the next call.
pub(crate) fn run(shared: &Shared, first: Connection) {
    let mut opened = Some(first);
    while let Next::Work(jobs) = shared.reads.next(1, None) {
        let connection = match opened.take() {
            Some(connection) => Ok(connection),
            None => shared.is_in_place().and_then(|()| connection::reader(&shared.path)),
        };
        match connection.map_err(|fault| fault.into_store_error(&shared.path)) {
            Ok(connection) => {
                if unless_it_panics(|| serve(shared, &connection, jobs)) == Some(Exit::Closed) {
                    return;
                }
            }
            Err(error) => jobs.into_iter().for_each(|job| job.task.refuse(&error)),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Exit {
    Closed,
    Fault,
}

fn serve(shared: &Shared, connection: &Connection, mut jobs: Vec<Job<Read>>) -> Exit {
    let mut statements = match Statements::prepare(connection) {
        Ok(statements) => statements,
        Err(fault) => {
            let error = fault.into_store_error(&shared.path);
            jobs.into_iter().for_each(|job| job.task.refuse(&error));
            return Exit::Fault;
        }
    };
    loop {
        for Job { task, _permit } in jobs {
            let fine = match task {
                Read::Get { name, answer } => tell(shared, answer, statements.get(&name)),
                Read::List { prefix, after, limit, answer } => {
                    tell(shared, answer, statements.list(&prefix, &after, limit))
                }
                Read::Count { prefix, answer } => tell(shared, answer, statements.count(&prefix)),
                Read::Changes { since, answer } => tell(shared, answer, statements.changes(since)),
                Read::InPlace { answer } => {
                    // Says nothing of the connection.
                    drop(
                        answer
                            .send(shared.is_in_place().map_err(|fault| fault.into_store_error(&shared.path))),
                    );
                    true
                }
            };
            if !fine {
                return Exit::Fault;
            }
        }
        match shared.reads.next(1, None) {
            Next::Work(more) => jobs = more,
            Next::Idle => jobs = Vec::new(),
            Next::Closed => return Exit::Closed,
        }
    }
}

/// Answers, and says whether the connection is still to be trusted.
fn tell<T>(shared: &Shared, answer: Answer<T>, result: Result<T, Fault>) -> bool {
    let fine = result.as_ref().map_or_else(Fault::is_busy, |_| true);
    // Whoever asked may have gone.
    drop(answer.send(result.map_err(|fault| fault.into_store_error(&shared.path))));
    fine
}

impl Read {
    fn refuse(self, error: &StoreError) {
        // Whoever asked may have gone.
        match self {
            Self::Get { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::List { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Count { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Changes { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::InPlace { answer } => drop(answer.send(Err(error.clone()))),
        }
    }
}

struct Statements<'c> {
    connection: &'c Connection,
    get: Statement<'c>,
    list: Statement<'c>,
    count: Statement<'c>,
    folders: Statement<'c>,
    span: Statement<'c>,
    changed: Statement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> Result<Self, Fault> {
        Ok(Self {
            connection,
            get: connection.prepare("SELECT name, revision, checksum, value FROM record WHERE name = ?1")?,
            list: connection.prepare(
                "SELECT name, revision, checksum, value FROM record WHERE name >= ?1 AND name < ?2
                 ORDER BY name LIMIT ?3",
            )?,
            count: connection.prepare("SELECT count(*) FROM record WHERE name >= ?1 AND name < ?2")?,
            folders: connection
                .prepare("SELECT records, name, checksum FROM folder WHERE name >= ?1 AND name < ?2")?,
            span: connection
                .prepare("SELECT (SELECT min(revision) FROM change), (SELECT max(revision) FROM change)")?,
            changed: connection.prepare("SELECT revision, name, checksum FROM change WHERE revision > ?1")?,
        })
    }

    fn get(&mut self, name: &str) -> Result<Option<Entry>, Fault> {
        self.get.query_row([name.as_bytes()], |row| Ok(read(row))).optional()?.transpose()
    }

    fn list(&mut self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Entry>, Fault> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = self.list.query((start_of(prefix, after), end_of(prefix), limit))?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(read(row)?);
        }
        Ok(entries)
    }

    fn count(&mut self, prefix: &str) -> Result<u64, Fault> {
        let range = (start_of(prefix, ""), end_of(prefix));
        if !is_counted(prefix) {
            return unsigned(self.count.query_row(range, |row| row.get(0))?);
        }
        let mut rows = self.folders.query(range)?;
        let mut records = 0_u64;
        while let Some(row) = rows.next()? {
            records = records.checked_add(counted(row)?).ok_or_else(damaged)?;
        }
        Ok(records)
    }

    /// Two statements, and so one transaction around them.
    fn changes(&mut self, since: Revision) -> Result<Changes, Fault> {
        let _view = self.connection.unchecked_transaction()?;
        let span: (Option<i64>, Option<i64>) =
            self.span.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (oldest, newest) = match span {
            (Some(oldest), Some(newest)) => (unsigned(oldest)?, unsigned(newest)?),
            _ => (1, 0),
        };
        let up_to = Revision(newest);
        // Older commits are forgotten; later ones are those of another store, or of a newer copy of this one.
        if since.0.saturating_add(1) < oldest || since > up_to {
            return Ok(Changes { up_to, names: None });
        }
        let mut names = std::collections::BTreeSet::new();
        let mut rows = self.changed.query([signed(since.0)])?;
        while let Some(row) = rows.next()? {
            let (revision, name): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            if row.get::<_, i64>(2)? != checksum(&name, unsigned(revision)?, &[]) {
                return Err(damaged());
            }
            names.insert(String::from_utf8(name).map_err(|_| damaged())?);
        }
        Ok(Changes { up_to, names: Some(names.into_iter().collect()) })
    }
}
