use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Call;

/// Collects the calls of several clients. Its clock counts begins and ends: a call that ended before another began has the
/// smaller number, whatever the clocks of the machine do.
#[derive(Debug)]
pub struct Recorder<Q, A> {
    clock: AtomicU64,
    calls: Mutex<Vec<Call<Q, A>>>,
}

/// A call under way.
#[derive(Debug)]
#[must_use]
pub struct Ticket(usize);

impl<Q, A> Default for Recorder<Q, A> {
    fn default() -> Self {
        Self { clock: AtomicU64::new(0), calls: Mutex::new(Vec::new()) }
    }
}

impl<Q, A> Recorder<Q, A> {
    /// Right before a call. Without [`Self::end`], it is one of which nobody knows whether it happened.
    pub fn begin(&self, ask: Q) -> Ticket {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = self.clock.fetch_add(1, Ordering::SeqCst);
        calls.push(Call { ask, begin, answer: None });
        Ticket(calls.len() - 1)
    }

    /// Right after it.
    pub fn end(&self, ticket: Ticket, answer: A) {
        let end = self.clock.fetch_add(1, Ordering::SeqCst);
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.get_mut(ticket.0) {
            call.answer = Some((answer, end));
        }
    }

    /// What happened.
    pub fn finish(self) -> Vec<Call<Q, A>> {
        self.calls.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
