//! Where callers leave records for the writer. Leaving one never waits, so that a caller that goes away loses nothing.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::{AuditError, Destruction};

/// Most records that wait: at 15,000 a second about a second of work. Callers are let in only below half of it.
const MOST: usize = 16 * 1024;
/// Most bytes that wait.
const MOST_BYTES: usize = 64 << 20;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its number, from 1.
    pub sequence: u64,
}

/// A record that waits to be written.
pub(crate) struct Job {
    pub content: Vec<u8>,
    /// For the alert about keys.
    pub destruction: Option<Destruction>,
    /// Who waits for it. Nobody for the log's own records.
    pub done: Option<oneshot::Sender<Result<Position, AuditError>>>,
}

/// All that the writer finds.
pub(crate) struct Taken {
    pub jobs: Vec<Job>,
    pub closed: bool,
}

#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// The writer sleeps here.
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    bytes: usize,
    closed: bool,
    /// The writer waits for so many.
    wanted: usize,
}

impl Queue {
    pub(crate) fn put(&self, job: Job) -> Result<(), AuditError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(AuditError::Closed);
        }
        if waiting.jobs.len() >= MOST || waiting.bytes + job.content.len() > MOST_BYTES {
            return Err(AuditError::Behind { waiting: waiting.jobs.len() });
        }
        waiting.bytes += job.content.len();
        waiting.jobs.push(job);
        // The writer sleeps only while there is nothing, or fewer than it hopes for.
        let wake = waiting.jobs.len() == 1 || waiting.jobs.len() == waiting.wanted;
        drop(waiting);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Whether another call may begin: one that has acted must find room for its record.
    pub(crate) fn has_room(&self) -> Result<(), AuditError> {
        let waiting = self.lock();
        if waiting.closed {
            Err(AuditError::Closed)
        } else if waiting.jobs.len() > MOST / 2 || waiting.bytes > MOST_BYTES / 2 {
            Err(AuditError::Behind { waiting: waiting.jobs.len() })
        } else {
            Ok(())
        }
    }

    /// Everything that waits; after `tick` also nothing. Once something waits it gives up to `patience` until there are
    /// `wanted`: callers that were just answered are about to come back, and a sync costs the same for them and for others.
    pub(crate) fn take(&self, tick: Duration, wanted: usize, patience: Duration) -> Taken {
        let idle = |it: &mut Waiting| it.jobs.is_empty() && !it.closed;
        let found = self.arrived.wait_timeout_while(self.lock(), tick, idle);
        let (mut waiting, _) = found.unwrap_or_else(PoisonError::into_inner);
        let few = |it: &mut Waiting| it.jobs.len() < wanted && !it.closed;
        if !waiting.jobs.is_empty() && few(&mut waiting) {
            waiting.wanted = wanted;
            let found = self.arrived.wait_timeout_while(waiting, patience, few);
            (waiting, _) = found.unwrap_or_else(PoisonError::into_inner);
            waiting.wanted = 0;
        }
        waiting.bytes = 0;
        Taken { jobs: std::mem::take(&mut waiting.jobs), closed: waiting.closed }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Nothing panics while it is held, so a poisoned lock has good content.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
