//! Times and spans as gcloud takes them: `90d`, `36h30m`, `P90D`; `2026-12-01T00:00:00Z`, `+p30d`.

use jiff::{SignedDuration, Timestamp};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A span in seconds, for the JSON of the API: `7776000s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seconds(pub(crate) u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}s", self.0)
    }
}

/// A span of at least a day, as a rotation period is.
pub(crate) fn rotation_period(text: &str) -> Result<Seconds, String> {
    match span(text)? {
        seconds if seconds < DAY => Err("a rotation period is at least 1d".to_owned()),
        seconds => Ok(Seconds(seconds)),
    }
}

/// A span of at most 120 days, as the wait before a destruction is.
pub(crate) fn destroy_scheduled_duration(text: &str) -> Result<Seconds, String> {
    const MOST: u64 = 120 * DAY;
    match span(text)? {
        seconds if seconds > MOST => Err("versions wait at most 120d for their destruction".to_owned()),
        seconds => Ok(Seconds(seconds)),
    }
}

/// Any span longer than nothing.
pub(crate) fn lifetime(text: &str) -> Result<Seconds, String> {
    match span(text)? {
        0 => Err("it would end at once".to_owned()),
        seconds => Ok(Seconds(seconds)),
    }
}

/// A point in time, in UTC with milliseconds as gcloud sends it.
pub(crate) fn time(text: &str) -> Result<String, String> {
    at(text, Timestamp::now())
}

fn at(text: &str, now: Timestamp) -> Result<String, String> {
    let wrong = || format!("{text:?} is not a time such as 2026-12-01T00:00:00Z, 2026-12-01 or +p30d");
    let time = match text.strip_prefix('+') {
        Some(rest) => {
            let seconds = i64::try_from(span(rest)?).map_err(|_| wrong())?;
            now.checked_add(SignedDuration::from_secs(seconds)).map_err(|_| wrong())?
        }
        None => {
            let day = || format!("{text}T00:00:00Z").parse();
            let second = || format!("{text}Z").parse();
            text.parse().or_else(|_| day()).or_else(|_| second()).map_err(|_: jiff::Error| wrong())?
        }
    };
    Ok(format!("{time:.3}"))
}

/// `1d12h`, `P1DT12H`, `129600s` or `129600`.
fn span(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a span such as 90d, 36h or P90D");
    let mut rest = text.to_ascii_lowercase();
    let is_iso = rest.starts_with('p');
    if is_iso {
        rest.remove(0);
    }
    if !rest.is_empty() && rest.chars().all(|it| it.is_ascii_digit()) && !is_iso {
        rest.push('s');
    }
    let (mut total, mut number, mut in_day, mut parts) = (0_u64, String::new(), !is_iso, 0);
    for letter in rest.chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        if letter == 't' && number.is_empty() && is_iso && !in_day {
            in_day = true;
            continue;
        }
        let unit = match letter {
            'w' => 7 * DAY,
            'd' => DAY,
            'h' => HOUR,
            'm' if in_day => MINUTE,
            's' => 1,
            // Years and months have no fixed length.
            _ => return Err(wrong()),
        };
        let count: u64 = std::mem::take(&mut number).parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|it| total.checked_add(it)).ok_or_else(wrong)?;
        parts += 1;
    }
    if parts == 0 || !number.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::{at, destroy_scheduled_duration, rotation_period, span};

    /// The seconds are those that the real gcloud sent.
    #[test]
    fn spans_are_those_of_gcloud() {
        for (text, seconds) in [
            ("90d", 7_776_000),
            ("30d", 2_592_000),
            ("25h", 90_000),
            ("2h", 7_200),
            ("P90D", 7_776_000),
            ("p1dt12h", 129_600),
            ("1d12h", 129_600),
            ("86400", 86_400),
            ("86400s", 86_400),
            ("90", 90),
            ("1w", 604_800),
            ("pt5m", 300),
        ] {
            assert_eq!(span(text), Ok(seconds), "{text}");
        }
        for wrong in ["", "d", "p90", "1y", "p1m", "soon", "-1d", "1.5d", "99999999999999999999d", "p", "1d1"]
        {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_are_those_of_gcloud() {
        assert!(rotation_period("1h").is_err() && rotation_period("1d").is_ok());
        assert!(destroy_scheduled_duration("121d").is_err() && destroy_scheduled_duration("120d").is_ok());
    }

    #[test]
    fn times_are_sent_as_gcloud_sends_them() {
        let now = "2026-11-25T18:35:33.722Z".parse().expect("time");
        for (text, sent) in [
            ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00.000Z"),
            ("2026-12-01T02:00:00+02:00", "2026-12-01T00:00:00.000Z"),
            ("2026-12-01", "2026-12-01T00:00:00.000Z"),
            ("2026-12-01T12:30:00", "2026-12-01T12:30:00.000Z"),
            ("+p30d", "2026-12-25T18:35:33.722Z"),
            ("+30d", "2026-12-25T18:35:33.722Z"),
        ] {
            assert_eq!(at(text, now).as_deref(), Ok(sent), "{text}");
        }
        for wrong in ["", "soon", "+", "2026-13-01", "30d"] {
            assert!(at(wrong, now).is_err(), "{wrong}");
        }
    }
}
