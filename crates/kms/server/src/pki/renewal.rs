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
    /// Sign with the one before again; the present one was made under a clock that was ahead.
    Return,
}

/// From when until when the authorities are valid.
#[derive(Clone, Copy, Debug)]
pub struct Authorities {
    /// The one that signed before.
    pub previous: Option<Validity>,
    /// The one that signs.
    pub current: Validity,
    /// The one that is shown already.
    pub next: Option<Validity>,
}

/// Judges the authority. Clients trust it for years, so nothing of it changes while the clock is not trusted.
pub fn plan_authority(now: Timestamp, clock_is_trusted: bool, authorities: &Authorities) -> AuthorityStep {
    if !clock_is_trusted {
        return AuthorityStep::Keep;
    }
    let is_valid = |it: Validity| it.from <= now && now < it.until;
    // One that was made under a clock that was ahead has signed nothing that counts; it is made anew when it is due.
    let next = authorities.next.filter(|next| next.from <= now);
    match (plan_renewal(now, authorities.current.from, authorities.current.until), next) {
        (Renewal::NotYetValid, _) if authorities.previous.is_some_and(is_valid) => AuthorityStep::Return,
        // A clock that is behind must not throw away what everybody trusts.
        (Renewal::NotYetValid, _) | (Renewal::Keep, None) => AuthorityStep::Keep,
        (Renewal::Due | Renewal::Expired, None) => AuthorityStep::Prepare,
        (Renewal::Expired, Some(_)) => AuthorityStep::Switch,
        (_, Some(next)) if now.duration_since(next.from) >= OVERLAP => AuthorityStep::Switch,
        (_, Some(_)) => AuthorityStep::Keep,
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

    fn authorities(
        previous: Option<(i64, i64)>,
        current: (i64, i64),
        next: Option<(i64, i64)>,
    ) -> Authorities {
        let validity = |(from, until)| Validity { from: day(from), until: day(until) };
        Authorities { previous: previous.map(validity), current: validity(current), next: next.map(validity) }
    }

    #[test]
    fn an_authority_is_shown_before_it_signs() {
        for (now, next_from, expected) in [
            (1_999, None, AuthorityStep::Keep),
            (2_000, None, AuthorityStep::Prepare),
            (2_029, Some(2_000), AuthorityStep::Keep),
            (2_030, Some(2_000), AuthorityStep::Switch),
            (3_000, None, AuthorityStep::Prepare),
            (3_000, Some(2_999), AuthorityStep::Switch),
            (-5, None, AuthorityStep::Keep),
        ] {
            let authorities = authorities(None, (0, 3_000), next_from.map(|from| (from, from + 3_000)));
            assert_eq!(plan_authority(day(now), true, &authorities), expected, "day {now}");
            assert_eq!(plan_authority(day(now), false, &authorities), AuthorityStep::Keep, "day {now}");
        }
    }

    #[test]
    fn an_authority_of_the_future_gives_way_to_the_one_before() {
        let future = (4_000, 7_000);
        for (now, trusted, previous, current, next, expected, why) in [
            (10, true, Some((0, 3_000)), future, None, AuthorityStep::Return, "the clock is right again"),
            (10, false, Some((0, 3_000)), future, None, AuthorityStep::Keep, "it may not be"),
            (10, true, Some((0, 3_000)), future, Some(future), AuthorityStep::Return, "whatever is next"),
            (10, true, None, future, None, AuthorityStep::Keep, "there was none before"),
            (10, true, Some((0, 5)), future, None, AuthorityStep::Keep, "the one before has ended"),
            (10, true, Some((11, 3_000)), future, None, AuthorityStep::Keep, "and is not yet valid either"),
            (4_001, true, Some((0, 3_000)), future, None, AuthorityStep::Keep, "it is valid now"),
            (10, true, None, (0, 3_000), Some(future), AuthorityStep::Keep, "one that is next signs nothing"),
            (2_000, true, None, (0, 3_000), Some(future), AuthorityStep::Prepare, "and is made anew"),
            (3_000, true, None, (0, 3_000), Some(future), AuthorityStep::Prepare, "also when it is late"),
        ] {
            let step = plan_authority(day(now), trusted, &authorities(previous, current, next));
            assert_eq!(step, expected, "{why}");
        }
    }
}
