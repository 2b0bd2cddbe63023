use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Jobs for threads. It grows only as far as those who push have permits, see [`SqliteStore`](crate::SqliteStore).
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

/// What a thread is to do next.
pub(crate) enum Next<T> {
    /// At least one job.
    Work(Vec<T>),
    /// None came in time.
    Idle,
    /// None will come any more.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { jobs: VecDeque::new(), closed: false }), changed: Condvar::new() }
    }

    pub(crate) fn push(&self, job: T) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Jobs that were pushed are still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Up to `most` jobs, as soon as there is one.
    pub(crate) fn next(&self, most: usize, wait: Option<Duration>) -> Next<T> {
        let asleep = |state: &mut State<T>| state.jobs.is_empty() && !state.closed;
        let mut state = match wait {
            None => self.changed.wait_while(self.lock(), asleep).unwrap_or_else(PoisonError::into_inner),
            Some(wait) => {
                self.changed
                    .wait_timeout_while(self.lock(), wait, asleep)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        if state.jobs.is_empty() {
            return if state.closed { Next::Closed } else { Next::Idle };
        }
        let count = state.jobs.len().min(most);
        Next::Work(state.jobs.drain(..count).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
