//! The one thread that writes. It takes all batches that wait, decides each in turn inside one transaction, and syncs once.
//! Nobody hears anything before that sync: neither a winner nor one that lost against it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keystead_model::ErrorClass;
use keystead_store::{Batch, Expect, Revision, StoreError};
use rusqlite::{Connection, OptionalExtension, Statement};

use crate::connection;
use crate::erase::Erasure;
use crate::fault::Fault;
use crate::folder::{self, Balance};
use crate::queue::Next;
use crate::record::{checksum, signed, unsigned};
use crate::store::{Answer, Job, Shared, unless_it_panics};

/// Batches in one transaction. At 64 a sync is already less than the statements cost; more only makes the first one wait.
const GROUP: usize = 64;

/// One call that writes.
pub(crate) enum Write {
    Commit {
        batch: Batch,
        answer: Answer<Revision>,
    },
    Checkpoint {
        answer: Answer<()>,
    },
    /// Changes nothing, and finds out whether it could.
    Try {
        answer: Answer<()>,
    },
}

/// The number of the last commit in the database.
pub(crate) fn newest(connection: &Connection) -> Result<Revision, Fault> {
    let newest: Option<i64> =
        connection.query_row("SELECT max(revision) FROM change", [], |row| row.get(0))?;
    newest.map_or(Ok(Revision(0)), |newest| Ok(Revision(unsigned(newest)?)))
}

/// Serves writes until the queue is closed. A connection that failed is never used again: after a failed sync the kernel
/// may have dropped what was to be written, and only the file tells what is there.
///
/// The anchor is never asked anything. While any connection is open, SQLite remembers which part of the log is committed; one
/// that is opened first of all reads the log, and would take a commit whose sync failed for one that did not.
pub(crate) fn run(shared: &Arc<Shared>, first: Connection, anchor: Connection) {
    let mut erasure = Erasure::default();
    let mut jobs = Vec::new();
    let mut opened = Some(first);
    loop {
        let connection = match opened.take() {
            Some(connection) => Ok(connection),
            None => reopen(shared),
        };
        match connection {
            Ok(connection) => {
                let work = std::mem::take(&mut jobs);
                let exit = unless_it_panics(|| serve(shared, &connection, &mut erasure, work));
                if exit == Some(Exit::Closed) {
                    // In this order, so that the one that can write is the last: closing that one empties the log.
                    drop(anchor);
                    return;
                }
                shared.failed.store(true, Ordering::Release);
            }
            Err(fault) => {
                shared.failed.store(true, Ordering::Release);
                let error = fault.into_store_error(&shared.path);
                std::mem::take(&mut jobs).into_iter().for_each(|job| job.task.refuse(&error));
                erasure.give_up();
            }
        }
        // Not before there is something to do: a disk that is away for an hour is asked once per call, not all the time.
        match shared.writes.next(GROUP, erasure.retry_after()) {
            Next::Work(work) => jobs = work,
            Next::Idle => {}
            Next::Closed => return,
        }
    }
}

/// A new connection in place of one that failed. What a failed commit left in the log could come back at the next start,
/// although readers were told that it is not there; so the log is emptied before anything is written.
fn reopen(shared: &Shared) -> Result<Connection, Fault> {
    shared.is_in_place()?;
    let connection = connection::writer(&shared.path)?;
    if !connection::checkpoint(&connection)? {
        let text = "its log cannot be emptied while somebody reads it";
        return Err(Fault::Store(StoreError::new(ErrorClass::Unavailable, text)));
    }
    let newest = newest(&connection)?;
    shared.newest.store(newest.0, Ordering::Release);
    tracing::info!(revision = newest.0, "the database can be written again");
    Ok(connection)
}

#[derive(PartialEq, Eq)]
enum Exit {
    Closed,
    Fault,
}

fn serve(
    shared: &Arc<Shared>,
    connection: &Connection,
    erasure: &mut Erasure,
    mut jobs: Vec<Job<Write>>,
) -> Exit {
    let mut session = match Session::new(shared, connection) {
        Ok(session) => session,
        Err(fault) => {
            let error = fault.into_store_error(&shared.path);
            jobs.into_iter().for_each(|job| job.task.refuse(&error));
            return Exit::Fault;
        }
    };
    if let Err(fault) = erasure.resume(shared, connection) {
        tracing::error!(error = %fault.into_store_error(&shared.path), "cannot see whether something is to be erased");
        return Exit::Fault;
    }
    loop {
        let (mut commits, mut checkpoints, mut tries) = (Vec::new(), Vec::new(), Vec::new());
        for Job { task, _permit: permit } in jobs {
            match task {
                Write::Commit { batch, answer } => commits.push(Commit { batch, answer, _permit: permit }),
                Write::Checkpoint { answer } => checkpoints.push(answer),
                Write::Try { answer } => tries.push(answer),
            }
        }
        let begin_anew = !checkpoints.is_empty();
        let served = session.commit(commits, erasure).and_then(|()| {
            if begin_anew {
                erasure.begin_anew();
            }
            session.checkpoint(checkpoints).and_then(|()| session.try_to_write(tries))
        });
        if let Err(Broken) = served {
            return Exit::Fault;
        }
        if let Err(fault) = erasure.advance(shared, connection) {
            let error = fault.into_store_error(&shared.path);
            tracing::error!(%error, "cannot erase; it is tried again");
            erasure.give_up();
            return Exit::Fault;
        }
        match shared.writes.next(GROUP, erasure.retry_after()) {
            Next::Work(more) => jobs = more,
            Next::Idle => jobs = Vec::new(),
            Next::Closed => {
                if let Err(fault) = erasure.last_try(shared, connection) {
                    let error = fault.into_store_error(&shared.path);
                    tracing::warn!(%error, "what was to be erased is erased at the next start");
                }
                return Exit::Closed;
            }
        }
    }
}

impl Write {
    fn refuse(self, error: &StoreError) {
        // Whoever asked may have gone.
        match self {
            Self::Commit { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Checkpoint { answer } | Self::Try { answer } => drop(answer.send(Err(error.clone()))),
        }
    }
}

struct Commit {
    batch: Batch,
    answer: Answer<Revision>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// The connection is not to be used again. Everybody concerned has been told.
struct Broken;

struct Session<'c> {
    shared: &'c Shared,
    connection: &'c Connection,
    newest: Revision,
    oldest: u64,
    find: Statement<'c>,
    replace: Statement<'c>,
    create: Statement<'c>,
    delete: Statement<'c>,
    change: Statement<'c>,
    folders: folder::Statements<'c>,
}

impl<'c> Session<'c> {
    fn new(shared: &'c Shared, connection: &'c Connection) -> Result<Self, Fault> {
        let oldest: Option<i64> =
            connection.query_row("SELECT min(revision) FROM change", [], |row| row.get(0))?;
        Ok(Self {
            shared,
            connection,
            newest: newest(connection)?,
            oldest: unsigned(oldest.unwrap_or(1))?,
            find: connection.prepare("SELECT revision FROM record WHERE name = ?1")?,
            replace: connection
                .prepare("UPDATE record SET revision = ?1, checksum = ?2, value = ?3 WHERE name = ?4")?,
            create: connection
                .prepare("INSERT INTO record (revision, checksum, value, name) VALUES (?1, ?2, ?3, ?4)")?,
            delete: connection.prepare("DELETE FROM record WHERE name = ?1")?,
            change: connection
                .prepare("INSERT INTO change (revision, name, checksum) VALUES (?1, ?2, ?3)")?,
            folders: folder::Statements::prepare(connection)?,
        })
    }

    /// Commits all that can be, with one sync. When that fails, each is tried by itself: one that is too large for the disk,
    /// or meets a damaged page, does not fail the others.
    fn commit(&mut self, commits: Vec<Commit>, erasure: &mut Erasure) -> Result<(), Broken> {
        if commits.is_empty() {
            return Ok(());
        }
        let batches: Vec<&Batch> = commits.iter().map(|commit| &commit.batch).collect();
        let fault = match self.transaction(&batches) {
            Ok(Decided { results, newest }) => {
                if newest > self.newest {
                    self.shared.failed.store(false, Ordering::Release);
                    self.newest = newest;
                    self.shared.newest.store(newest.0, Ordering::Release);
                }
                let erases =
                    |(commit, result): (&Commit, &Result<_, _>)| commit.batch.erase && result.is_ok();
                if commits.iter().zip(&results).any(erases) {
                    erasure.add(self.shared);
                }
                for (Commit { answer, .. }, result) in commits.into_iter().zip(results) {
                    drop(answer.send(result));
                }
                return Ok(());
            }
            Err(fault) => fault,
        };
        let recovered = self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        if commits.len() > 1 && recovered && !is_of_the_disk(&fault) {
            for commit in commits {
                self.commit(vec![commit], erasure)?;
            }
            return Ok(());
        }
        self.shared.failed.store(true, Ordering::Release);
        let busy = fault.is_busy();
        let error = fault.into_store_error(&self.shared.path);
        tracing::error!(%error, "cannot commit");
        for commit in commits {
            drop(commit.answer.send(Err(error.clone())));
        }
        if busy && recovered { Ok(()) } else { Err(Broken) }
    }

    fn transaction(&mut self, batches: &[&Batch]) -> Result<Decided, Fault> {
        self.shared.is_in_place()?;
        let mut decided = Decided { results: Vec::new(), newest: self.newest };
        let mut balance = Balance::default();
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        for batch in batches {
            let result = self.decide(batch)?;
            if result.is_ok() {
                decided.newest.0 += 1;
                self.write(batch, decided.newest, &mut balance)?;
            }
            decided.results.push(result.map(|()| decided.newest));
        }
        balance.write(&mut self.folders)?;
        if decided.newest == self.newest {
            self.connection.execute_batch("ROLLBACK")?;
        } else {
            self.forget_old_changes(decided.newest)?;
            self.connection.execute_batch("COMMIT")?;
        }
        Ok(decided)
    }

    /// Whether all expectations hold. Before anything is written, so that a conflict has nothing to undo.
    fn decide(&mut self, batch: &Batch) -> Result<Result<(), StoreError>, Fault> {
        for write in &batch.writes {
            let name = &write.name;
            let found: Option<i64> = self.find.query_row([name.as_bytes()], |row| row.get(0)).optional()?;
            let found = found.map(unsigned).transpose()?.map(Revision);
            let conflict = match (write.expect, found) {
                (Expect::Any, _) | (Expect::Absent, None) => continue,
                (Expect::At(expected), Some(found)) if expected == found => continue,
                (Expect::Absent, Some(_)) => {
                    StoreError::new(ErrorClass::AlreadyExists, format!("{name} exists already"))
                }
                (Expect::At(_), Some(_)) => {
                    StoreError::new(ErrorClass::Aborted, format!("{name} was changed by somebody else"))
                }
                (Expect::At(_), None) => {
                    StoreError::new(ErrorClass::Aborted, format!("{name} was deleted by somebody else"))
                }
            };
            return Ok(Err(conflict));
        }
        Ok(Ok(()))
    }

    fn write(&mut self, batch: &Batch, revision: Revision, balance: &mut Balance) -> Result<(), Fault> {
        let number = signed(revision.0);
        for write in &batch.writes {
            let name = write.name.as_bytes();
            match &write.value {
                Some(value) => {
                    let columns = (number, checksum(name, revision.0, value), value, name);
                    if self.replace.execute(columns)? == 0 {
                        self.create.execute(columns)?;
                        balance.add(name, 1);
                    }
                }
                None => {
                    if self.delete.execute([name])? > 0 {
                        balance.add(name, -1);
                    }
                }
            }
            self.change.execute((number, name, checksum(name, revision.0, &[])))?;
        }
        if batch.erase {
            // With the batch itself: a crash before the old bytes are gone does not forget them.
            self.connection.execute("INSERT INTO erasing (revision) VALUES (?1)", [number])?;
        }
        Ok(())
    }

    /// A few more than asked for are kept, so that not every commit has to delete.
    fn forget_old_changes(&mut self, newest: Revision) -> Result<(), Fault> {
        let kept = self.shared.settings.changes_kept;
        if newest.0.saturating_sub(self.oldest) < kept.saturating_add(kept / 64) {
            return Ok(());
        }
        let oldest = newest.0.saturating_sub(kept).saturating_add(1);
        self.connection.execute("DELETE FROM change WHERE revision < ?1", [signed(oldest)])?;
        self.oldest = oldest;
        Ok(())
    }

    fn checkpoint(&self, asked: Vec<Answer<()>>) -> Result<(), Broken> {
        if asked.is_empty() {
            return Ok(());
        }
        let result = match connection::checkpoint(self.connection) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::Store(StoreError::new(
                ErrorClass::Unavailable,
                "its log is still read; try again",
            ))),
            Err(fault) => Err(fault),
        };
        let broken = matches!(&result, Err(Fault::Sqlite(_)));
        let result = result.map_err(|fault| fault.into_store_error(&self.shared.path));
        for answer in asked {
            drop(answer.send(result.clone()));
        }
        if broken { Err(Broken) } else { Ok(()) }
    }

    /// Writes what the database says of itself once more, with a sync: as small as a commit can be.
    fn try_to_write(&self, asked: Vec<Answer<()>>) -> Result<(), Broken> {
        if asked.is_empty() {
            return Ok(());
        }
        let result = self.shared.is_in_place().and_then(|()| connection::write_nothing_new(self.connection));
        self.shared.failed.store(result.is_err(), Ordering::Release);
        let broken = result.as_ref().is_err_and(|fault| !fault.is_busy());
        let result = result.map_err(|fault| fault.into_store_error(&self.shared.path));
        for answer in asked {
            drop(answer.send(result.clone()));
        }
        if broken { Err(Broken) } else { Ok(()) }
    }
}

/// What became of a group.
struct Decided {
    results: Vec<Result<Revision, StoreError>>,
    newest: Revision,
}

/// After such a fault the connection is not asked again, not even for the others in the group.
fn is_of_the_disk(fault: &Fault) -> bool {
    let Fault::Sqlite(error) = fault else { return false };
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure)
}
