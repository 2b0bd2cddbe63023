//! How many patches may be under way: grows by one, shrinks by a share.

use std::time::Duration;

/// Patches at the start. Even a small API server takes so many at once.
const START: usize = 4;
/// Below this mean latency nobody else at the API server notices us: Kubernetes' own promise for one write is 1 s, which is 20 times as
/// much. On two cores an API server and its etcd answer 32 patches at once within some 40 ms; 25 ms held us at about half of that.
const UNDISTURBED: Duration = Duration::from_millis(50);
/// Above so many times the best mean seen, more patches only wait in a queue.
const QUEUEING: u32 = 3;

/// An adaptive limit. Additive increase while latency is low, multiplicative decrease where it is high or the API server says
/// that it is too much.
#[derive(Debug)]
pub(super) struct Concurrency {
    limit: usize,
    cap: usize,
    best: Option<Duration>,
    answers: u32,
    sum: Duration,
    /// Whether the limit was what held patches back since the last decision.
    reached: bool,
    /// Until the first decrease it grows by half, so that a large cap does not take minutes.
    starting: bool,
}

impl Concurrency {
    pub(super) fn new(cap: usize) -> Self {
        let cap = cap.max(1);
        Self {
            limit: START.min(cap),
            cap,
            best: None,
            answers: 0,
            sum: Duration::ZERO,
            reached: false,
            starting: true,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// One answer after `latency`, with `under_way` patches including it.
    pub(super) fn answered(&mut self, latency: Duration, under_way: usize) {
        self.answers += 1;
        self.sum += latency;
        self.reached |= under_way >= self.limit;
        // Each patch of a full limit has been answered about once.
        if (self.answers as usize) < self.limit.max(START) {
            return;
        }
        let mean = self.sum / self.answers;
        let best = self.best.map_or(mean, |best| best.min(mean));
        // Forgets slowly, twofold in 1,400 decisions or about a minute: one very quiet moment does not decide for the rest of a long
        // run.
        self.best = Some(best + best / 2000);
        if mean > UNDISTURBED.max(best * QUEUEING) {
            self.shrink(4, 5);
        } else if self.reached {
            let step = if self.starting { self.limit.div_ceil(2) } else { 1 };
            self.limit = (self.limit + step).min(self.cap);
        }
        self.forget();
    }

    /// The API server said that it is too much, or did not answer in time.
    pub(super) fn pushed_back(&mut self) {
        self.shrink(1, 2);
        self.forget();
    }

    fn shrink(&mut self, numerator: usize, denominator: usize) {
        self.limit = (self.limit * numerator / denominator).max(1);
        self.starting = false;
    }

    fn forget(&mut self) {
        self.answers = 0;
        self.sum = Duration::ZERO;
        self.reached = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn it_grows_to_its_cap_while_answers_are_quick_and_shrinks_when_they_queue() {
        let mut it = Concurrency::new(32);
        assert_eq!(it.limit(), 4);
        for _ in 0..1000 {
            it.answered(ms(5), it.limit());
        }
        assert_eq!(it.limit(), 32);
        for _ in 0..64 {
            it.answered(ms(100), it.limit());
        }
        assert!((10..32).contains(&it.limit()), "{}", it.limit());
        for _ in 0..10_000 {
            it.answered(ms(500), it.limit());
        }
        // What was best is slowly forgotten, and yet it stays low.
        assert!(it.limit() < 32, "{}", it.limit());
    }

    #[test]
    fn a_latency_that_nobody_notices_is_no_reason_to_shrink_however_quick_the_first_answers_were() {
        let mut it = Concurrency::new(32);
        for _ in 0..4 {
            it.answered(ms(5), it.limit());
        }
        for _ in 0..1000 {
            it.answered(ms(45), it.limit());
        }
        assert_eq!(it.limit(), 32);
        for _ in 0..64 {
            it.answered(ms(55), it.limit());
        }
        assert!(it.limit() < 32, "{}", it.limit());
    }

    #[test]
    fn it_does_not_grow_where_it_is_not_the_limit_that_holds_back() {
        let mut it = Concurrency::new(32);
        for _ in 0..1000 {
            it.answered(ms(5), 1);
        }
        assert_eq!(it.limit(), 4);
    }

    #[test]
    fn it_halves_when_it_is_told_to_and_never_stops() {
        let mut it = Concurrency::new(64);
        for _ in 0..1000 {
            it.answered(ms(5), it.limit());
        }
        it.pushed_back();
        assert_eq!(it.limit(), 32);
        for _ in 0..10 {
            it.pushed_back();
        }
        assert_eq!(it.limit(), 1);
        it.answered(ms(5), 1);
        assert_eq!(Concurrency::new(1).limit(), 1);
    }
}
