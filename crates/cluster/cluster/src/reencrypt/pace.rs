//! When the next call may be made: one rule for all calls of a run.

use std::time::Duration;

use tokio::time::Instant;

use super::concurrency::Concurrency;

/// First pause after a failure of the connection; a restarted API server listens again after 2 to 4 s.
const FIRST_HOLD: Duration = Duration::from_millis(250);
/// Longest pause between two attempts to reach an API server that is down.
const LONGEST_HOLD: Duration = Duration::from_secs(10);
/// Where a 429 does not say how long. kube-apiserver always does: 1 s.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The most that a 429 is obeyed without asking again.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// So many failures without one answer between them are no longer the fault of single objects.
const OUTAGE: u32 = 50;

/// How fast a run goes.
#[derive(Debug)]
pub(super) struct Pace {
    concurrency: Concurrency,
    hold_until: Option<Instant>,
    failures: u32,
    failing_since: Option<Instant>,
    /// When something worked last.
    worked: Option<Instant>,
}

impl Pace {
    pub(super) fn new(concurrency_max: usize) -> Self {
        Self {
            concurrency: Concurrency::new(concurrency_max),
            hold_until: None,
            failures: 0,
            failing_since: None,
            worked: None,
        }
    }

    /// How many patches may be under way now.
    pub(super) fn limit(&self) -> usize {
        self.concurrency.limit()
    }

    /// Until when nothing may be sent.
    pub(super) fn held(&self, now: Instant) -> Option<Instant> {
        self.hold_until.filter(|until| *until > now)
    }

    /// For how long nothing has worked.
    pub(super) fn failing_for(&self, now: Instant) -> Duration {
        self.failing_since.map_or(Duration::ZERO, |since| now - since)
    }

    /// The API server did what was asked, or had a reason of the object's not to.
    pub(super) fn answered(&mut self, latency: Duration, under_way: usize, now: Instant) {
        self.works(now);
        self.concurrency.answered(latency, under_way);
    }

    /// Something works.
    pub(super) fn works(&mut self, now: Instant) {
        self.failures = 0;
        self.failing_since = None;
        self.worked = Some(now);
    }

    /// Whether something worked at this moment or later.
    pub(super) fn worked_since(&self, moment: Instant) -> bool {
        self.worked.is_some_and(|at| at >= moment)
    }

    /// Whether the next failure looks like an outage.
    pub(super) fn suspects_outage(&self) -> bool {
        self.failures + 1 >= OUTAGE
    }

    /// Too many requests: nobody sends before `after`.
    pub(super) fn throttled(&mut self, after: Option<Duration>, now: Instant) {
        self.failing_since.get_or_insert(now);
        // Patches that were under way together are told so together.
        if self.held(now).is_none() {
            self.concurrency.pushed_back();
        }
        self.hold(after.unwrap_or(DEFAULT_RETRY_AFTER).min(LONGEST_RETRY_AFTER), now);
    }

    /// A server error or no answer in time. Whether that looks like an outage and no fault of the object's.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failing_since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        if self.failures < OUTAGE {
            return false;
        }
        self.back_off(self.failures - OUTAGE, now);
        true
    }

    /// The connection could not be made, or broke.
    pub(super) fn unreachable(&mut self, now: Instant) {
        self.failing_since.get_or_insert(now);
        if self.held(now).is_none() {
            self.failures = self.failures.saturating_add(1);
        }
        self.back_off(self.failures, now);
    }

    /// Something that everybody needs has failed: nobody sends before `pause` is over.
    pub(super) fn pause(&mut self, pause: Duration, now: Instant) {
        self.failing_since.get_or_insert(now);
        self.hold(pause, now);
    }

    fn back_off(&mut self, times: u32, now: Instant) {
        if self.held(now).is_none() {
            self.concurrency.pushed_back();
            self.hold(FIRST_HOLD.saturating_mul(1 << times.min(10)).min(LONGEST_HOLD), now);
        }
    }

    fn hold(&mut self, pause: Duration, now: Instant) {
        self.hold_until = Some(self.hold_until.map_or(now + pause, |until| until.max(now + pause)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_holds_everybody_and_halves_once() {
        let mut pace = Pace::new(32);
        let now = Instant::now();
        for _ in 0..100 {
            pace.answered(Duration::from_millis(1), pace.limit(), now);
        }
        assert_eq!(pace.limit(), 32);
        let second = Duration::from_secs(1);
        for _ in 0..32 {
            pace.throttled(Some(7 * second), now);
        }
        assert_eq!((pace.limit(), pace.held(now)), (16, Some(now + 7 * second)));
        assert_eq!(pace.held(now + 7 * second), None);
        pace.throttled(Some(Duration::MAX), now + 7 * second);
        assert_eq!(pace.held(now + 7 * second), Some(now + 7 * second + LONGEST_RETRY_AFTER));
    }

    #[test]
    fn an_outage_is_told_from_objects_that_fail() {
        let mut pace = Pace::new(32);
        let now = Instant::now();
        let outages = (0..200).filter(|_| pace.failed(now)).count();
        assert_eq!(outages, 200 - (OUTAGE as usize - 1));
        assert!(pace.held(now).is_some());
        assert!(pace.suspects_outage() && !pace.worked_since(now));
        pace.works(now);
        assert!(!pace.suspects_outage() && pace.worked_since(now));
        assert!(!pace.worked_since(now + Duration::from_nanos(1)));
        assert!(!pace.failed(now));
        assert_eq!(pace.failing_for(now + Duration::from_secs(3)), Duration::from_secs(3));
    }

    #[test]
    fn pauses_grow_while_nobody_is_there() {
        let mut pace = Pace::new(32);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            for _ in 0..5 {
                pace.unreachable(now);
            }
            let until = pace.held(now).expect("it waits");
            pauses.push(until - now);
            now = until;
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&LONGEST_HOLD));
        assert_eq!(pace.limit(), 1);
    }
}
