//! When certificates change. Pure.

use jiff::{SignedDuration, Timestamp};

use super::Validity;

/// So long a new authority is in the bundle before anything is signed by it: clients that read the bundle at their
/// start have it by then.
const OVERLAP: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What to do with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It is good.
    Keep,
    /// Two thirds of its life are over.
    Due,
    /// Nobody accepts it any more.
    Expired,
    /// It was made under a clock that was ahead; nobody accepts it yet.
    NotYetValid,
}

/// Judges a certificate: a third of its life is left for whatever goes wrong.
pub fn plan_renewal(now: Timestamp, not_before: Timestamp, not_after: Timestamp) -> Renewal {
    if now < not_before {
        return Renewal::NotYetValid;
    }
    if now >= not_after {
        return Renewal::Expired;
    }
    let (life, age) = (not_after.duration_since(not_before), now.duration_since(not_before));
    if age.as_secs() >= life.as_secs() / 3 * 2 { Renewal::Due } else { Renewal::Keep }
}

/// What to do with the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityStep {
    /// Nothing.
    Keep,
    /// Make the next one and show it to clients.
    Prepare,
    /// Sign with the next one; the present one stays trusted until it expires.
    Switch,
}

/// Judges the authority; `next_from` is when the next one was made.
pub fn plan_authority(now: Timestamp, current: Validity, next_from: Option<Timestamp>) -> AuthorityStep {
    let judged = plan_renewal(now, current.from, current.until);
    match next_from {
        // A clock that is behind must not throw away what everybody trusts.
        None if matches!(judged, Renewal::Keep | Renewal::NotYetValid) => AuthorityStep::Keep,
        None => AuthorityStep::Prepare,
        Some(from) if judged == Renewal::Expired || now.duration_since(from) >= OVERLAP => {
            AuthorityStep::Switch
        }
        Some(_) => AuthorityStep::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + day * 86_400).expect("a time")
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
        for (now, expected) in [
            (-1, Renewal::NotYetValid),
            (0, Renewal::Keep),
            (59, Renewal::Keep),
            (60, Renewal::Due),
            (89, Renewal::Due),
            (90, Renewal::Expired),
            (5_000, Renewal::Expired),
        ] {
            assert_eq!(plan_renewal(day(now), day(0), day(90)), expected, "day {now}");
        }
        assert_eq!(plan_renewal(day(0), day(0), day(0)), Renewal::Expired, "no life at all");
    }

    #[test]
    fn an_authority_is_shown_before_it_signs() {
        let current = Validity { from: day(0), until: day(3_000) };
        for (now, next_from, expected) in [
            (1_999, None, AuthorityStep::Keep),
            (2_000, None, AuthorityStep::Prepare),
            (2_029, Some(2_000), AuthorityStep::Keep),
            (2_030, Some(2_000), AuthorityStep::Switch),
            (3_000, None, AuthorityStep::Prepare),
            (3_000, Some(2_999), AuthorityStep::Switch),
            (-5, None, AuthorityStep::Keep),
        ] {
            assert_eq!(plan_authority(day(now), current, next_from.map(day)), expected, "day {now}");
        }
    }
}
