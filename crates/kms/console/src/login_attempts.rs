use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Attempts of one address in [`WINDOW`]: nobody mistypes a token of 63 letters more often, and nobody guesses 256 bits.
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are counted at a time; past these, all of them share what is left of the window.
const MOST_ADDRESSES: usize = 10_000;

/// How often each address has tried to log in within the minute. A limit on noise, not on guessing.
#[derive(Default)]
pub(crate) struct LoginAttempts(Mutex<Attempts>);

#[derive(Default)]
struct Attempts {
    since: Option<Instant>,
    of: HashMap<Option<IpAddr>, u32>,
}

impl LoginAttempts {
    /// Counts an attempt; whether it may be made.
    pub(crate) fn may_try(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            *attempts = Attempts { since: Some(now), of: HashMap::new() };
        }
        let full = attempts.of.len() >= MOST_ADDRESSES && !attempts.of.contains_key(&address);
        let count = attempts.of.entry(if full { None } else { address }).or_default();
        *count = count.saturating_add(1);
        *count <= MOST
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn an_address_may_try_ten_times_a_minute_and_others_beside_it() {
        let attempts = LoginAttempts::default();
        let now = Instant::now();
        let tries = |address: u128, now| {
            (0..20).filter(|_| attempts.may_try(Some(Ipv6Addr::from(address).into()), now)).count()
        };
        assert_eq!((tries(1, now), tries(2, now), tries(1, now)), (10, 10, 0));
        assert_eq!(tries(1, now + WINDOW), 10);
        let later = now + 2 * WINDOW;
        for address in 0..20_000 {
            attempts.may_try(Some(Ipv6Addr::from(address).into()), later);
        }
        assert!(attempts.0.lock().unwrap().of.len() <= MOST_ADDRESSES + 1);
    }
}
