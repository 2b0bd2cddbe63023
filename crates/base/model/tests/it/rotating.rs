use jiff::{SignedDuration, Timestamp};
use keystead_model::rotation::{Act, MAX_PERIOD_S, MIN_PERIOD_S, Step, check_schedule, plan};
use keystead_model::{CryptoKey, VersionNumber};
use proptest::prelude::*;

use crate::samples::{at, key, number};

fn scheduled(period_s: Option<i64>, next: &str) -> CryptoKey {
    CryptoKey { rotation_period_s: period_s, next_rotation_time: Some(at(next)), ..key(&[]) }
}

const DAY_S: i64 = 86_400;

#[test]
fn nothing_is_due_without_a_schedule_or_before_its_time() {
    let now = at("2026-06-01T00:00:00Z");
    assert_eq!(plan(now, &key(&[]), None), []);
    assert_eq!(plan(now, &scheduled(Some(DAY_S), "2026-06-01T00:00:00.000001Z"), None), []);
    assert_eq!(plan(now, &scheduled(Some(DAY_S), "2026-06-01T00:00:00Z"), None).len(), 1, "its time is now");
    assert_eq!(plan(now, &scheduled(None, "2026-06-02T00:00:00Z"), Some(now)), []);
}

#[test]
fn a_rotation_that_is_due_keeps_the_hour_of_the_day() {
    let due = scheduled(Some(90 * DAY_S), "2026-06-01T03:00:00Z");
    assert_eq!(
        plan(at("2026-06-01T03:00:05Z"), &due, None),
        [Step {
            act: Act::Rotate { version: number(2), next: Some(at("2026-08-30T03:00:00Z")) },
            reason: "rotation was due at 2026-06-01T03:00:00Z".into(),
        }]
    );
}

#[test]
fn rotations_that_were_missed_are_one_rotation() {
    let due = scheduled(Some(DAY_S), "2026-06-01T03:00:00Z");
    assert_eq!(
        plan(at("2026-06-05T02:00:00Z"), &due, None),
        [Step {
            act: Act::Rotate { version: number(2), next: Some(at("2026-06-05T03:00:00Z")) },
            reason:
                "rotation was due at 2026-06-01T03:00:00Z; 3 more passed since then and are not made up for"
                    .into(),
        }]
    );
}

#[test]
fn the_next_time_is_after_now_even_when_now_is_a_whole_period_later() {
    let due = scheduled(Some(DAY_S), "2026-06-01T03:00:00Z");
    let [Step { act: Act::Rotate { next, .. }, .. }] = &plan(at("2026-06-03T03:00:00Z"), &due, None)[..]
    else {
        panic!("one rotation");
    };
    assert_eq!(*next, Some(at("2026-06-04T03:00:00Z")));
}

#[test]
fn a_time_without_a_period_happens_once() {
    let due = scheduled(None, "2026-06-01T03:00:00Z");
    assert_eq!(
        plan(at("2026-06-09T00:00:00Z"), &due, None),
        [Step {
            act: Act::Rotate { version: number(2), next: None },
            reason: "rotation was due at 2026-06-01T03:00:00Z".into(),
        }]
    );
}

/// The clock showed 2050 for a moment: one rotation happened, and its schedule is 24 years away.
#[test]
fn a_clock_that_went_back_does_not_end_rotation() {
    let now = at("2026-06-01T00:00:00Z");
    let jumped = scheduled(Some(DAY_S), "2050-01-02T00:00:00Z");
    assert_eq!(
        plan(now, &jumped, Some(at("2050-01-01T00:00:00Z"))),
        [Step {
            act: Act::Reschedule { next: at("2026-06-02T00:00:00Z") },
            reason: "the clock went back: the newest version was made at 2050-01-01T00:00:00Z; the next rotation moves from \
                     2050-01-02T00:00:00Z to 2026-06-02T00:00:00Z"
                .into(),
        }]
    );
    assert_eq!(plan(now, &jumped, Some(at("2026-05-31T00:00:00Z"))), [], "an owner may choose a far time");
    let soon = scheduled(Some(DAY_S), "2026-06-01T12:00:00Z");
    assert_eq!(plan(now, &soon, Some(at("2050-01-01T00:00:00Z"))), [], "it comes soon enough as it is");
}

#[test]
fn schedules_are_checked() {
    let now = at("2026-06-01T00:00:00Z");
    let next = Some(at("2026-06-02T00:00:00Z"));
    for (period_s, next, expected) in [
        (None, None, Ok(())),
        (None, next, Ok(())),
        (Some(MIN_PERIOD_S), next, Ok(())),
        (Some(MAX_PERIOD_S), next, Ok(())),
        (Some(86_400), None, Err("next_rotation_time must be set when rotation_period is set.")),
        (
            Some(86_399),
            next,
            Err(
                "rotation_period must be between 86400s (24 hours) and 3153600000s (876,000 hours), not 86399s.",
            ),
        ),
        (
            Some(3_153_600_001),
            next,
            Err(
                "rotation_period must be between 86400s (24 hours) and 3153600000s (876,000 hours), not 3153600001s.",
            ),
        ),
        (None, Some(now), Err("next_rotation_time must be in the future, not 2026-06-01T00:00:00Z.")),
    ] {
        let found = check_schedule(now, period_s, next).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{period_s:?} {next:?}");
    }
}

/// Does what a plan says, as the server would.
fn apply(key: &mut CryptoKey, newest_made: &mut Option<Timestamp>, now: Timestamp) -> usize {
    let steps = plan(now, key, *newest_made);
    for step in &steps {
        assert!(!step.reason.is_empty());
        match step.act {
            Act::Rotate { version, next } => {
                assert_eq!(version, key.next_version);
                assert!(next.is_none_or(|next| next > now), "the next time is ahead");
                key.primary = Some(version);
                key.next_version = version.next().expect("far from the last");
                key.next_rotation_time = next;
                *newest_made = Some((*newest_made).map_or(now, |made| made.max(now)));
            }
            Act::Reschedule { next } => {
                assert!(key.next_rotation_time.is_some_and(|before| next < before), "only ever sooner");
                key.next_rotation_time = Some(next);
            }
        }
    }
    steps.len()
}

proptest! {
    /// A server that is up and down, with a clock that jumps: each look gives at most one step, a second look at the same
    /// moment none, and once the clock is right again a rotation comes within two periods.
    #[test]
    fn rotation_survives_any_clock(
        period_s in MIN_PERIOD_S..400 * DAY_S,
        first_s in 0..2_000_000_000_i64,
        looks in proptest::collection::vec(0..4_000_000_000_i64, 1..20),
        settled_s in 0..3_000_000_000_i64,
    ) {
        let mut key = CryptoKey {
            rotation_period_s: Some(period_s),
            next_rotation_time: Some(Timestamp::from_second(first_s).expect("a time")),
            ..key(&[])
        };
        let mut newest_made = None;
        for look in looks {
            let now = Timestamp::from_second(look).expect("a time");
            prop_assert!(apply(&mut key, &mut newest_made, now) <= 1);
            prop_assert_eq!(apply(&mut key, &mut newest_made, now), 0, "a second look changes nothing");
        }
        prop_assume!(newest_made.is_some());
        let settled = Timestamp::from_second(settled_s).expect("a time");
        apply(&mut key, &mut newest_made, settled);
        let before = key.next_version;
        for half in 1..=4 {
            apply(&mut key, &mut newest_made, settled + SignedDuration::from_secs(half * period_s / 2 + half));
        }
        prop_assert!(key.next_version > before, "no rotation in two periods: {:?}", key);
        prop_assert!(key.next_version.get() - before.get() <= 3);
        prop_assert_ne!(key.primary, Some(VersionNumber::FIRST));
    }
}
