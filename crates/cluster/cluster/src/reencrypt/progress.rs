use std::time::Duration;

use tokio::time::Instant;

use super::outcome::Outcome;
use super::tally::Tally;

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// 1 for the first.
    pub pass: u32,
    /// Such as `secrets`.
    pub resource: String,
    /// The namespace, where one has its turn of its own.
    pub namespace: Option<String>,
    /// Objects of this pass that are done.
    pub done: u64,
    /// Objects of this pass, as counted before the run; objects come and go.
    pub total: Option<u64>,
    /// Objects of this pass that were stored anew.
    pub rewritten: u64,
    /// Objects of this pass that could not be, and lists that were not read to their end.
    pub unsettled: u64,
    /// Objects a second, of the last seconds.
    pub rate: f64,
    /// Patches that may be under way.
    pub concurrency: usize,
    /// How often a list had to go on at another revision.
    pub tokens_expired: u64,
    /// Why nothing is sent at the moment.
    pub waits: Option<String>,
}

impl Progress {
    /// How long this pass will take from here.
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.done);
        Duration::try_from_secs_f64(left as f64 / self.rate).ok()
    }
}

/// Tells an observer, often enough for a person and not for each object.
pub(super) struct Reporter<'a> {
    pub(super) progress: Progress,
    /// Objects that were sent a patch, in all passes since the start.
    pub(super) sent: u64,
    /// What the rate is made of: those, or what the in-tree migrations have done.
    done: u64,
    observer: &'a mut (dyn FnMut(&Progress) + Send),
    next: Option<Instant>,
    sample: Option<(Instant, u64)>,
}

impl<'a> Reporter<'a> {
    /// How often.
    pub(super) const EVERY: Duration = Duration::from_millis(200);

    pub(super) fn new(observer: &'a mut (dyn FnMut(&Progress) + Send)) -> Self {
        Self { progress: Progress::default(), sent: 0, done: 0, observer, next: None, sample: None }
    }

    /// A new pass, of which a part may have been done before. It is told at once.
    pub(super) fn begin(&mut self, pass: u32, total: Option<u64>, before: &Tally) {
        self.progress.pass = pass;
        self.progress.total = total;
        self.progress.done = before.objects();
        self.progress.rewritten = before.count(Outcome::Rewritten);
        self.progress.unsettled = before.unsettled();
        self.next = None;
    }

    pub(super) fn settled(&mut self, outcome: Outcome) {
        self.sent += 1;
        self.done += 1;
        self.progress.done += 1;
        self.progress.rewritten += u64::from(outcome == Outcome::Rewritten);
        self.progress.unsettled += u64::from(!outcome.is_settled());
    }

    pub(super) fn not_listed(&mut self) {
        self.progress.unsettled += 1;
    }

    /// How far the in-tree migrations are, which are counted and not sent from here. It can be less than before: objects go, and one that
    /// fails counts no more.
    pub(super) fn migrated(&mut self, resource: String, done: u64, rewritten: u64, failed: u64) {
        self.done = done;
        self.progress = Progress { resource, done, rewritten, unsettled: failed, ..self.progress.clone() };
    }

    pub(super) fn token_expired(&mut self) {
        self.progress.tokens_expired += 1;
    }

    /// Why nothing is sent, or that something is.
    pub(super) fn waits(&mut self, reason: Option<String>) {
        if self.progress.waits != reason {
            self.progress.waits = reason;
            self.next = None;
        }
    }

    pub(super) fn tick(&mut self, now: Instant, concurrency: usize) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + Self::EVERY);
        self.progress.concurrency = concurrency;
        let (since, before) = *self.sample.get_or_insert((now, self.done));
        let passed = (now - since).as_secs_f64();
        // Long enough to hold some answers, short enough to follow.
        if passed >= 1.0 {
            let rate = self.done.saturating_sub(before) as f64 / passed;
            let known = self.progress.rate > 0.0;
            self.progress.rate = if known { (self.progress.rate + rate) / 2.0 } else { rate };
            self.sample = Some((now, self.done));
        }
        (self.observer)(&self.progress);
    }
}
