//! When a key is rotated. Rules, in order:
//!
//! 1. No next time: never.
//! 2. The next time has not come: nothing. But when the clock went back (the newest version was made in the future) and the
//!    next time is more than one period away, the schedule moves back to one period from now: a jump to 2050 and back must
//!    not end rotation for 24 years.
//! 3. The next time has come: one rotation, however many were missed, and the next time advances past now by whole
//!    periods, so the hour of the day that the owner chose stays. Without a period it happens once.
//!
//! Manual rotation does not touch the schedule. Two servers cannot both act: each step says which version it makes, and the
//! commit expects the key as it was read.

use jiff::{SignedDuration, Timestamp};

use crate::version_state::to_microseconds;
use crate::{CryptoKey, ErrorClass, VersionNumber};

/// Shortest time between two rotations: 24 hours.
pub const MIN_PERIOD_S: i64 = 24 * 3600;
/// Longest time between two rotations: 876,000 hours, which Cloud KMS calls 100 years.
pub const MAX_PERIOD_S: i64 = 876_000 * 3600;

/// What to do with a key, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub act: Act,
    /// One sentence for the log and the audit record.
    pub reason: String,
}

/// A change of a key by its schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Make this version, make it primary, and set the next time.
    Rotate {
        /// The number of the version to make.
        version: VersionNumber,
        /// The next time; none when the key has no period.
        next: Option<Timestamp>,
    },
    /// Only set the next time.
    Reschedule {
        /// The next time.
        next: Timestamp,
    },
}

/// What is due for `key`. `newest_made` is when its newest version was made. Empty or one step; running it on the result
/// of its own step gives nothing.
pub fn plan(now: Timestamp, key: &CryptoKey, newest_made: Option<Timestamp>) -> Vec<Step> {
    let Some(due) = key.next_rotation_time else { return Vec::new() };
    if due > now {
        return reschedule(now, due, key.rotation_period_s, newest_made).into_iter().collect();
    }
    let (next, missed) = match key.rotation_period_s {
        None => (None, 0),
        Some(period_s) => advance(now, due, period_s),
    };
    let mut reason = format!("rotation was due at {due}");
    if missed > 0 {
        reason += &format!("; {missed} more passed since then and are not made up for");
    }
    vec![Step { act: Act::Rotate { version: key.next_version, next }, reason }]
}

/// The first time after `now` that is `due` plus whole periods, and how many such times lie between.
fn advance(now: Timestamp, due: Timestamp, period_s: i64) -> (Option<Timestamp>, i64) {
    let period_s = period_s.clamp(MIN_PERIOD_S, MAX_PERIOD_S);
    let passed_s = now.duration_since(due).as_secs();
    let missed = passed_s / period_s;
    let ahead = SignedDuration::from_secs((missed + 1).saturating_mul(period_s));
    // Past the year 9999 there is no next time.
    (due.checked_add(ahead).ok(), missed)
}

fn reschedule(
    now: Timestamp,
    due: Timestamp,
    period_s: Option<i64>,
    newest_made: Option<Timestamp>,
) -> Option<Step> {
    let made = newest_made.filter(|made| *made > now)?;
    let next = to_microseconds(now.checked_add(SignedDuration::from_secs(period_s?)).ok()?);
    (due > next).then(|| Step {
        act: Act::Reschedule { next },
        reason: format!(
            "the clock went back: the newest version was made at {made}; the next rotation moves from {due} to {next}"
        ),
    })
}

/// Checks a schedule as a caller wants it. `next` is `nextRotationTime`; both none means no schedule.
pub fn check_schedule(
    now: Timestamp,
    period_s: Option<i64>,
    next: Option<Timestamp>,
) -> Result<(), InvalidSchedule> {
    match (period_s, next) {
        (Some(period_s), _) if !(MIN_PERIOD_S..=MAX_PERIOD_S).contains(&period_s) => {
            Err(InvalidSchedule::Period { period_s })
        }
        (Some(_), None) => Err(InvalidSchedule::NoNextTime),
        (_, Some(next)) if next <= now => Err(InvalidSchedule::Past { next }),
        _ => Ok(()),
    }
}

/// A schedule that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// Too short or too long.
    #[error(
        "rotation_period must be between 86400s (24 hours) and 3153600000s (876,000 hours), not {period_s}s."
    )]
    Period {
        /// What was asked.
        period_s: i64,
    },
    /// A period alone says how often, not when.
    #[error("next_rotation_time must be set when rotation_period is set.")]
    NoNextTime,
    /// The time has passed.
    #[error("next_rotation_time must be in the future, not {next}.")]
    Past {
        /// What was asked.
        next: Timestamp,
    },
}

impl InvalidSchedule {
    /// `Invalid`.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}
