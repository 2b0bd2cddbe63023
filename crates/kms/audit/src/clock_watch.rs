use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// A step of the wall clock that a correction by NTP does not make.
const JUMP: SignedDuration = SignedDuration::from_mins(5);
/// Longest wait after a jump: a machine that slept for a week is right, and a clock that was set wrong is noticed by then.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3600);

/// Compares the wall clock with the one that only counts. A wall clock that jumps forward would destroy keys and records early,
/// so whatever waits for a time waits longer then: as long as the jump was, at most a day.
#[derive(Debug)]
pub struct ClockWatch {
    last: Option<(Timestamp, Instant)>,
    held_until: Option<Instant>,
}

/// What a look at both clocks says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockLook {
    /// What is due by the wall clock may be done.
    pub trusted: bool,
    /// The wall clock went back since the last look: what was planned by it may be far away.
    pub went_back: bool,
}

impl ClockWatch {
    /// A watch of a process that starts `now`. `last_alive` is the wall clock's last time that is known from the process
    /// before: how long nobody ran is not told from a jump.
    pub fn new(last_alive: Option<Timestamp>, now: Instant) -> Self {
        Self { last: last_alive.map(|time| (time, now)), held_until: None }
    }

    /// Compares what both clocks show now with what they showed before.
    pub fn look(&mut self, wall: Timestamp, counted: Instant) -> ClockLook {
        let mut went_back = false;
        if let Some((last_wall, last_counted)) = self.last {
            let passed = SignedDuration::try_from(counted.saturating_duration_since(last_counted));
            let jump = wall.duration_since(last_wall).saturating_sub(passed.unwrap_or_default());
            went_back = jump < -JUMP;
            if jump > JUMP {
                let hold = jump.unsigned_abs().min(LONGEST_HOLD);
                tracing::warn!(
                    jump_s = jump.as_secs(),
                    hold_s = hold.as_secs(),
                    "the clock jumped, or nobody ran: what waits for a time waits longer"
                );
                self.held_until = self.held_until.max(counted.checked_add(hold));
            } else if went_back {
                tracing::warn!(jump_s = jump.as_secs(), "the clock went back");
            }
        }
        self.last = Some((wall, counted));
        ClockLook { trusted: self.held_until.is_none_or(|until| counted >= until), went_back }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: ClockLook = ClockLook { trusted: false, went_back: false };
    const STEADY: ClockLook = ClockLook { trusted: true, went_back: false };
    const A_YEAR: Duration = Duration::from_secs(365 * 86_400);

    fn after(start: Instant, seconds: u64) -> (Timestamp, Instant) {
        let passed = Duration::from_secs(seconds);
        (Timestamp::UNIX_EPOCH + passed, start + passed)
    }

    #[test]
    fn what_is_due_waits_after_a_jump_and_goes_on_later() {
        let start = Instant::now();
        let mut watch = ClockWatch::new(None, start);
        for (seconds, ahead, expected, why) in [
            (0, Duration::ZERO, STEADY, "there is nothing to compare with"),
            (5, Duration::ZERO, STEADY, "five seconds in five seconds"),
            (10, A_YEAR, HELD, "a year in five seconds"),
            (3600, A_YEAR, HELD, "an hour later still"),
            (2 * 86_400, A_YEAR, STEADY, "two days later it was no mistake"),
        ] {
            let (wall, counted) = after(start, seconds);
            assert_eq!(watch.look(wall + ahead, counted), expected, "{why}");
        }
    }

    #[test]
    fn a_process_that_starts_knows_when_the_one_before_lived() {
        let (wall, start) = after(Instant::now(), 86_400);
        for (ago, expected) in [(60, STEADY), (3600, HELD), (-60, STEADY)] {
            let last = wall - SignedDuration::from_secs(ago);
            assert_eq!(ClockWatch::new(Some(last), start).look(wall, start), expected, "{ago} s ago");
        }
        let mut watch = ClockWatch::new(Some(wall - SignedDuration::from_hours(1)), start);
        watch.look(wall, start);
        let hour = Duration::from_secs(3600);
        assert_eq!(watch.look(wall + hour, start + hour), STEADY, "held as long as nobody ran");
    }

    #[test]
    fn a_clock_that_goes_back_holds_nothing_and_says_so() {
        let (wall, start) = after(Instant::now(), 86_400);
        let mut watch = ClockWatch::new(None, start);
        watch.look(wall, start);
        let back = watch.look(Timestamp::UNIX_EPOCH, start + Duration::from_secs(5));
        assert_eq!(back, ClockLook { trusted: true, went_back: true });
        let next = watch.look(Timestamp::UNIX_EPOCH, start + Duration::from_secs(6));
        assert_eq!(next, STEADY);
        let before_that = ClockWatch::new(Some(wall), start).look(Timestamp::UNIX_EPOCH, start);
        assert!(before_that.went_back);
    }
}
