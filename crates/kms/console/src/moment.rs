use jiff::{SignedDuration, Timestamp};

use crate::texts::Texts;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A time as a page shows it: in words, and exactly for whoever wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// RFC 3339, in UTC, to the second.
    pub(crate) exact: String,
    /// Such as `3 minutes ago`.
    pub(crate) words: String,
}

impl Moment {
    pub(crate) fn new(time: Timestamp, now: Timestamp, texts: &Texts) -> Self {
        let away = time.duration_since(now);
        let words = if away <= SignedDuration::ZERO { texts.ago } else { texts.ahead };
        let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
        Self { exact: whole.to_string(), words: words(&length(away.abs().as_secs(), texts)) }
    }
}

/// A length of time in its largest unit, such as `3 minutes`.
pub(crate) fn length(seconds: i64, texts: &Texts) -> String {
    let (count, unit) = match seconds {
        ..MINUTE => (seconds, texts.seconds),
        MINUTE..HOUR => (seconds / MINUTE, texts.minutes),
        HOUR..DAY => (seconds / HOUR, texts.hours),
        _ => (seconds / DAY, texts.days),
    };
    unit(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::{ENGLISH, KOREAN};

    #[test]
    fn a_time_is_said_in_its_largest_unit_and_exactly() {
        let now: Timestamp = "2026-12-01T12:00:00.123456Z".parse().unwrap();
        for (time, english, korean) in [
            ("2026-12-01T11:57:00.123456Z", "3 minutes ago", "3분 전"),
            ("2026-12-01T11:59:59.123456Z", "1 second ago", "1초 전"),
            ("2026-12-01T12:00:00.123456Z", "0 seconds ago", "0초 전"),
            ("2026-12-01T09:00:00Z", "3 hours ago", "3시간 전"),
            ("2026-12-31T12:00:00.123456Z", "in 30 days", "30일 후"),
            ("2026-12-02T12:00:00.123456Z", "in 1 day", "1일 후"),
        ] {
            let moment = |texts| Moment::new(time.parse().unwrap(), now, texts);
            assert_eq!(moment(&ENGLISH).words, english);
            assert_eq!(moment(&KOREAN).words, korean);
        }
        assert_eq!(Moment::new(now, now, &ENGLISH).exact, "2026-12-01T12:00:00Z");
    }
}
