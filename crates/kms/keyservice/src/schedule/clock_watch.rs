use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A step of the wall clock that a correction by NTP does not make.
const JUMP: Duration = Duration::from_secs(5 * 60);
/// Longest wait after a jump: a machine that slept for a week is right, and a clock that was set wrong is noticed by then.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3600);

/// Compares the wall clock with the one that only counts. A wall clock that jumps forward would destroy keys early, so
/// destruction waits then: as long as the jump was, at most a day.
#[derive(Default)]
pub(super) struct ClockWatch {
    last: Option<(Timestamp, Instant)>,
    held_until: Option<Instant>,
}

impl ClockWatch {
    /// Whether what is due by this wall clock may be destroyed.
    pub(super) fn trusts(&mut self, wall: Timestamp, counted: Instant) -> bool {
        if let Some((last_wall, last_counted)) = self.last {
            let passed = counted.saturating_duration_since(last_counted);
            let shown = Duration::try_from(wall.duration_since(last_wall)).unwrap_or_default();
            let jump = shown.saturating_sub(passed);
            if jump > JUMP {
                let hold = jump.min(LONGEST_HOLD);
                tracing::warn!(
                    jump_s = jump.as_secs(),
                    hold_s = hold.as_secs(),
                    "the clock jumped; destruction waits"
                );
                self.held_until = self.held_until.max(counted.checked_add(hold));
            }
        }
        self.last = Some((wall, counted));
        self.held_until.is_none_or(|until| counted >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destruction_waits_after_a_jump_and_goes_on_later() {
        let (wall, start) = (Timestamp::UNIX_EPOCH, Instant::now());
        let after =
            |seconds: u64| (wall + Duration::from_secs(seconds), start + Duration::from_secs(seconds));
        let mut watch = ClockWatch::default();
        assert!(watch.trusts(wall, start));
        let (now, counted) = after(5);
        assert!(watch.trusts(now, counted));
        let a_year = Duration::from_secs(365 * 86_400);
        let (now, counted) = after(10);
        assert!(!watch.trusts(now + a_year, counted), "a year in five seconds");
        let (now, counted) = after(3600);
        assert!(!watch.trusts(now + a_year, counted), "an hour later still");
        let (now, counted) = after(2 * 86_400);
        assert!(watch.trusts(now + a_year, counted), "two days later it was no mistake");
    }

    #[test]
    fn a_clock_that_goes_back_holds_nothing() {
        let (wall, start) = (Timestamp::UNIX_EPOCH + Duration::from_secs(86_400), Instant::now());
        let mut watch = ClockWatch::default();
        assert!(watch.trusts(wall, start));
        assert!(watch.trusts(Timestamp::UNIX_EPOCH, start + Duration::from_secs(5)));
    }
}
