//! What one connection owes us, and since when. One sweep a second looks at all connections, so that an idle connection
//! has no timer of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Half a request: its headers, a frame, or the first bytes after the handshake.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// An answer that the client does not take.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(12);
/// No call for so long. Longer than any probe or pool keeps quiet; the next call only opens a new connection.
pub(super) const IDLE_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Why a connection is closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Close {
    /// Nothing was asked for a long time: with a farewell.
    Idle,
    /// One source has too many on which nobody has shown who calls: at once.
    GaveWay,
    /// The authority of the client's certificate was removed: after the calls under way.
    Untrusted,
    /// The client sends too slowly: at once.
    SlowRequest,
    /// The client reads too slowly: at once.
    SlowAnswer,
}

impl Close {
    /// For logs and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::GaveWay => "too_many_unknown_from_one_source",
            Self::Untrusted => "untrusted_certificate",
            Self::SlowRequest => "slow_request",
            Self::SlowAnswer => "slow_answer",
        }
    }
}

/// Shared by the connection's bytes, its calls and the sweep.
pub(super) struct Watch {
    state: Mutex<State>,
    closed: Notify,
    /// Its peer has it too: who calls is known long before a slow call is answered.
    identified: Arc<AtomicBool>,
}

struct State {
    /// The client owes the rest of a request.
    partial_since: Option<Instant>,
    /// The client does not take our bytes.
    unsent_since: Option<Instant>,
    /// No call is under way.
    idle_since: Instant,
    calls: Vec<Call>,
    next_call: u32,
    close: Option<Close>,
}

struct Call {
    id: u32,
    /// An answer is ready and the client gives no room for it.
    unsent_since: Option<Instant>,
}

impl Watch {
    /// A connection whose client owes its first request.
    pub(super) fn new(now: Instant) -> Self {
        let state = State {
            partial_since: Some(now),
            unsent_since: None,
            idle_since: now,
            calls: Vec::new(),
            next_call: 0,
            close: None,
        };
        Self { state: Mutex::new(state), closed: Notify::new(), identified: Arc::default() }
    }

    /// Set when a caller has shown who he is.
    pub(super) fn identified(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.identified)
    }

    pub(super) fn is_identified(&self) -> bool {
        self.identified.load(Ordering::Relaxed)
    }

    /// Half a request is there, or no longer.
    pub(super) fn partial(&self, partial: bool, now: Instant) {
        let mut state = self.state();
        state.partial_since = partial.then(|| state.partial_since.unwrap_or(now));
    }

    /// Bytes of an HTTP/1 client: a new request begins unless one is under way.
    pub(super) fn bytes_came(&self, now: Instant) {
        let mut state = self.state();
        if state.calls.is_empty() {
            state.partial_since.get_or_insert(now);
        }
    }

    /// The client does not take our bytes, or does again.
    pub(super) fn unsent(&self, unsent: bool, now: Instant) {
        let mut state = self.state();
        state.unsent_since = unsent.then(|| state.unsent_since.unwrap_or(now));
    }

    /// The client has taken enough that it gets time for the next piece.
    pub(super) fn progressed(&self, now: Instant) {
        let mut state = self.state();
        if state.unsent_since.is_some() {
            state.unsent_since = Some(now);
        }
    }

    /// A call begins. On HTTP/1 its headers are no longer owed.
    pub(super) fn begin(&self, http2: bool) -> u32 {
        let mut state = self.state();
        if !http2 {
            state.partial_since = None;
        }
        let id = state.next_call;
        state.next_call = id.wrapping_add(1);
        state.calls.push(Call { id, unsent_since: None });
        id
    }

    /// A piece of the call's answer waits for the client, or (`None`) the answer's maker is at it.
    pub(super) fn answering(&self, id: u32, waits_since: Option<Instant>) {
        let mut state = self.state();
        if let Some(call) = state.calls.iter_mut().find(|call| call.id == id) {
            call.unsent_since = waits_since;
        }
    }

    /// The call has ended, however it did.
    pub(super) fn end(&self, id: u32, now: Instant) {
        let mut state = self.state();
        state.calls.retain(|call| call.id != id);
        if state.calls.is_empty() {
            state.idle_since = now;
            // What a burst of calls needed is not kept through a long silence.
            state.calls.shrink_to(1);
        }
    }

    /// Closes the connection when a deadline has passed.
    pub(super) fn sweep(&self, now: Instant) {
        let verdict = self.state().verdict(now);
        if let Some(close) = verdict {
            self.close(close);
        }
    }

    /// Closes the connection, unless it is being closed.
    pub(super) fn close(&self, close: Close) {
        let mut state = self.state();
        if state.close.is_none() {
            state.close = Some(close);
            self.closed.notify_one();
        }
    }

    /// Resolves when it was decided to close.
    pub(super) async fn closed(&self) -> Close {
        loop {
            if let Some(close) = self.closing() {
                return close;
            }
            self.closed.notified().await;
        }
    }

    /// Why it is being closed.
    pub(super) fn closing(&self) -> Option<Close> {
        self.state().close
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn verdict(&self, now: Instant) -> Option<Close> {
        let passed = |since: Option<Instant>, deadline| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= deadline)
        };
        if passed(self.partial_since, REQUEST_DEADLINE) {
            return Some(Close::SlowRequest);
        }
        let unsent = self.calls.iter().map(|call| call.unsent_since).chain([self.unsent_since]);
        if unsent.into_iter().any(|since| passed(since, ANSWER_DEADLINE)) {
            return Some(Close::SlowAnswer);
        }
        let idle = self.calls.is_empty() && passed(Some(self.idle_since), IDLE_DEADLINE);
        idle.then_some(Close::Idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(watch: &Watch, at: Instant) -> Option<Close> {
        watch.state().verdict(at)
    }

    #[test]
    fn a_client_that_never_asks_is_closed() {
        let start = Instant::now();
        let watch = Watch::new(start);
        assert_eq!(verdict(&watch, start + REQUEST_DEADLINE - Duration::from_millis(1)), None);
        assert_eq!(verdict(&watch, start + REQUEST_DEADLINE), Some(Close::SlowRequest));
        watch.partial(false, start);
        assert_eq!(verdict(&watch, start + REQUEST_DEADLINE), None);
        assert_eq!(verdict(&watch, start + IDLE_DEADLINE), Some(Close::Idle));
    }

    #[test]
    fn crumbs_do_not_prolong_a_request() {
        let start = Instant::now();
        let watch = Watch::new(start);
        for second in 0..10 {
            watch.bytes_came(start + Duration::from_secs(second));
            watch.partial(true, start + Duration::from_secs(second));
        }
        assert_eq!(verdict(&watch, start + REQUEST_DEADLINE), Some(Close::SlowRequest));
    }

    #[test]
    fn bytes_of_a_body_under_way_are_no_new_request() {
        let start = Instant::now();
        let watch = Watch::new(start);
        let call = watch.begin(false);
        watch.bytes_came(start);
        assert_eq!(verdict(&watch, start + IDLE_DEADLINE), None, "a call under way is not idle");
        watch.end(call, start + IDLE_DEADLINE);
        assert_eq!(verdict(&watch, start + IDLE_DEADLINE), None);
        assert_eq!(verdict(&watch, start + IDLE_DEADLINE * 2), Some(Close::Idle));
    }

    #[test]
    fn an_answer_that_is_not_taken_closes_though_others_go_on() {
        let start = Instant::now();
        let watch = Watch::new(start);
        let (first, second) = (watch.begin(true), watch.begin(true));
        watch.partial(false, start);
        watch.answering(first, Some(start));
        watch.answering(second, Some(start + Duration::from_secs(11)));
        assert_eq!(verdict(&watch, start + ANSWER_DEADLINE), Some(Close::SlowAnswer));
        watch.answering(first, None);
        assert_eq!(verdict(&watch, start + ANSWER_DEADLINE), None);
        watch.end(second, start);
        assert_eq!(verdict(&watch, start + ANSWER_DEADLINE * 2), None);
    }

    #[test]
    fn a_client_that_takes_our_bytes_gets_time() {
        let start = Instant::now();
        let watch = Watch::new(start);
        let _call = watch.begin(false);
        watch.unsent(true, start);
        watch.unsent(true, start + Duration::from_secs(11));
        assert_eq!(verdict(&watch, start + ANSWER_DEADLINE), Some(Close::SlowAnswer));
        watch.progressed(start + Duration::from_secs(11));
        assert_eq!(verdict(&watch, start + ANSWER_DEADLINE), None);
        watch.unsent(false, start);
        watch.progressed(start);
        assert_eq!(verdict(&watch, start + ANSWER_DEADLINE * 9), None);
    }

    #[tokio::test]
    async fn the_sweep_wakes_the_connection_once() {
        let start = Instant::now();
        let watch = Watch::new(start);
        watch.sweep(start + REQUEST_DEADLINE);
        assert_eq!(watch.closed().await, Close::SlowRequest);
        watch.sweep(start + IDLE_DEADLINE);
        assert_eq!(watch.closed().await, Close::SlowRequest, "the first reason stays");
    }
}
