//! How long to wait before a program is started again that ended by itself.

use std::time::Duration;

/// A program that ended because another one was not ready yet is to come back soon.
const FIRST: Duration = Duration::from_secs(1);
/// One that always fails costs a start each half minute, and comes back within that time once its reason is gone.
const LONGEST: Duration = Duration::from_secs(30);
/// Longer than any of the programs takes to notice what keeps it from its work.
const WENT_WELL: Duration = Duration::from_secs(60);

/// Pauses that grow as long as starts fail.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Pauses {
    /// The pause after a run of this length.
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        let pause = if ran >= WENT_WELL { FIRST } else { self.next };
        self.next = LONGEST.min(pause.saturating_mul(2));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_begin_anew_after_a_good_run() {
        let mut pauses = Pauses::default();
        let failed = Duration::from_secs(2);
        let seconds: Vec<u64> = (0..7).map(|_| pauses.after(failed).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pauses.after(WENT_WELL), FIRST);
        assert_eq!(pauses.after(failed), FIRST * 2);
    }
}
