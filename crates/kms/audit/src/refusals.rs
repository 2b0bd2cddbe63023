//! Calls that are counted and not recorded one by one, so that a flood of them is a few records and not a full disk: those of
//! callers that nobody knows, and malformed ones.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::entry;

/// Sources that are told apart within a minute; all others are one. Their records are a mebibyte a minute at most.
const MOST_SOURCES: usize = 1024;
/// Longest name of a principal that is told apart, in bytes.
const MAX_PRINCIPAL: usize = 320;
/// Minutes that are kept when they cannot be written; later refusals are added to the last one.
const MOST_MINUTES: usize = 60;
const MINUTE: i64 = 60;

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusedCaller {
    /// Nobody that is known: the address at the other end of the connection.
    Address(IpAddr),
    /// Somebody who is known, by email or subject.
    Principal(String),
}

/// Seconds of the minute's start, and the source; none: all those that were too many.
type Key = (i64, Option<RefusedCaller>);
type Counts = BTreeMap<&'static str, u64>;

#[derive(Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<i64, HashMap<Option<RefusedCaller>, Counts>>>);

impl Refusals {
    pub(crate) fn count(&self, source: RefusedCaller, time: Timestamp, reason: &'static str) {
        let minute = time.as_second().div_euclid(MINUTE) * MINUTE;
        let short =
            |it: &RefusedCaller| !matches!(it, RefusedCaller::Principal(name) if name.len() > MAX_PRINCIPAL);
        self.add((minute, Some(source).filter(short)), reason, 1);
    }

    /// Counts of all minutes that are over, or of all, with the content of their records.
    pub(crate) fn take(&self, now: Option<Timestamp>) -> Vec<(Key, Counts)> {
        let mut minutes = self.lock();
        let over = match now {
            Some(now) => {
                let rest = minutes.split_off(&(now.as_second().div_euclid(MINUTE) * MINUTE));
                std::mem::replace(&mut *minutes, rest)
            }
            None => std::mem::take(&mut *minutes),
        };
        drop(minutes);
        let of_minute = |(minute, sources): (i64, HashMap<_, _>)| {
            sources.into_iter().map(move |(source, counts)| ((minute, source), counts))
        };
        over.into_iter().flat_map(of_minute).collect()
    }

    /// They could not be written.
    pub(crate) fn put_back(&self, taken: Vec<(Key, Counts)>) {
        for (key, counts) in taken {
            for (reason, count) in counts {
                self.add(key.clone(), reason, count);
            }
        }
    }

    fn add(&self, (minute, source): Key, reason: &'static str, count: u64) {
        let mut minutes = self.lock();
        let minute = match minutes.last_key_value() {
            Some((last, _)) if minutes.len() >= MOST_MINUTES && !minutes.contains_key(&minute) => *last,
            _ => minute,
        };
        let sources = minutes.entry(minute).or_default();
        let known = sources.len() < MOST_SOURCES || sources.contains_key(&source);
        let counts = sources.entry(source.filter(|_| known)).or_default();
        *counts.entry(reason).or_default() += count;
    }

    /// Nothing panics while it is held, so a poisoned lock has good content.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, HashMap<Option<RefusedCaller>, Counts>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One record's content.
pub(crate) fn content((minute, source): &Key, counts: &Counts, now: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        #[serde(rename = "@type")]
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        principal: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        caller_ip: Option<&'a str>,
        minute: String,
        counts: &'a Counts,
    }
    let known = matches!(source, Some(RefusedCaller::Principal(_)));
    let source = match source {
        Some(RefusedCaller::Address(address)) => address.to_string(),
        Some(RefusedCaller::Principal(name)) => name.clone(),
        None => "others".to_owned(),
    };
    let start = Timestamp::from_second(*minute).unwrap_or(now);
    let (kind, minute) = ("keystead.audit.Refusals", start.to_string());
    let payload = match known {
        true => Payload { kind, principal: Some(&source), caller_ip: None, minute, counts },
        false => Payload { kind, principal: None, caller_ip: Some(&source), minute, counts },
    };
    entry::of_log_itself(&payload, now, "WARNING", Some(&format!("refusals-{}-{source}", start.as_second())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn source(n: u32) -> RefusedCaller {
        RefusedCaller::Address(n.to_be_bytes().into())
    }

    #[test]
    fn counts_are_by_source_and_minute_and_come_when_the_minute_is_over() {
        let refusals = Refusals::default();
        for (second, address, reason) in
            [(0, 1, "none"), (59, 1, "none"), (59, 1, "expired"), (60, 1, "none"), (30, 2, "none")]
        {
            refusals.count(source(address), at(second), reason);
        }
        assert_eq!(refusals.take(Some(at(59))), []);
        let mut taken = refusals.take(Some(at(60)));
        taken.sort();
        let expected = [
            ((0, Some(source(1))), Counts::from([("expired", 1), ("none", 2)])),
            ((0, Some(source(2))), Counts::from([("none", 1)])),
        ];
        assert_eq!(taken, expected);
        refusals.put_back(taken);
        refusals.count(source(2), at(1), "none");
        let mut taken = refusals.take(None);
        taken.sort();
        assert_eq!(taken.len(), 3);
        assert_eq!(taken[1], ((0, Some(source(2))), Counts::from([("none", 2)])));
    }

    #[test]
    fn a_flood_stays_small() {
        let refusals = Refusals::default();
        for n in 0..100_000 {
            refusals.count(source(n), at(i64::from(n % 2)), "none");
        }
        let taken = refusals.take(None);
        assert_eq!(taken.len(), MOST_SOURCES + 1);
        assert_eq!(taken.iter().map(|(_, counts)| counts["none"]).sum::<u64>(), 100_000);
        for minute in 0..1000 {
            refusals.count(source(1), at(minute * 60), "none");
        }
        let taken = refusals.take(None);
        assert_eq!(taken.len(), MOST_MINUTES);
        assert_eq!(taken.iter().map(|(_, counts)| counts["none"]).sum::<u64>(), 1000);
    }
}
