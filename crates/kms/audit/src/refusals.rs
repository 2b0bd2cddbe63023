//! Calls that are counted and not recorded one by one, so that a flood of them is a few records and not a full disk: those of
//! callers that nobody knows, malformed ones, and those of a known caller to whom nothing is granted, past the first of a minute.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::entry;

/// Sources that are told apart within a minute; all others are one. Their records are a mebibyte a minute at most.
const MOST_SOURCES: usize = 1024;
/// Longest name of a principal that is told apart, in bytes.
const MAX_PRINCIPAL: usize = 320;
/// Calls without a permission that one principal has recorded in full in a minute: enough to see what somebody tries, and at most
/// 130 MiB a day of records of 1.5 KiB.
const RECORDED_IN_FULL: u32 = 60;
/// Minutes that are kept when they cannot be written; later refusals are added to the last one.
const MOST_MINUTES: usize = 60;
const MINUTE: i64 = 60;
/// No call takes so many seconds.
const SLOWEST: i64 = 30 * MINUTE;

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
type Counts = BTreeMap<Reason, u64>;

type Minutes = BTreeMap<i64, HashMap<Option<RefusedCaller>, Counts>>;

/// What is counted together: a reason, and the method where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reason {
    reason: &'static str,
    method: Option<&'static str>,
}

/// Such as `no_credential`, or `denied Encrypt`.
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.method {
            Some(method) => serializer.collect_str(&format_args!("{} {method}", self.reason)),
            None => serializer.serialize_str(self.reason),
        }
    }
}

#[derive(Default)]
pub(crate) struct Refusals {
    counted: Mutex<Minutes>,
    recorded: Mutex<Recorded>,
}

/// How many calls without a permission are recorded in full, by principal and reason, in the newest minute: what anybody may ask
/// uses up nothing of what is denied.
#[derive(Default)]
struct Recorded {
    minute: i64,
    calls: HashMap<(Option<RefusedCaller>, &'static str), u32>,
}

impl Refusals {
    pub(crate) fn count(&self, source: RefusedCaller, time: Timestamp, reason: &'static str) {
        self.add((minute(time), short(source)), Reason { reason, method: None }, 1);
    }

    /// Counts a call without a permission, unless it is among the first of its principal in this minute. Those are recorded in
    /// full.
    pub(crate) fn count_repeated(
        &self,
        principal: &str,
        time: Timestamp,
        reason: &'static str,
        method: &'static str,
    ) -> bool {
        let (minute, source) = (minute(time), short(RefusedCaller::Principal(principal.to_owned())));
        let is_repeated = self.is_repeated(source.clone(), minute, reason);
        if is_repeated {
            self.add((minute, source), Reason { reason, method: Some(method) }, 1);
        }
        is_repeated
    }

    fn is_repeated(&self, source: Option<RefusedCaller>, minute: i64, reason: &'static str) -> bool {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        // A slow call, which began minutes ago, must not begin the count anew. A clock that went back does.
        if minute > recorded.minute || minute < recorded.minute - SLOWEST {
            *recorded = Recorded { minute, calls: HashMap::new() };
        }
        let key = (source, reason);
        let known = recorded.calls.len() < MOST_SOURCES || recorded.calls.contains_key(&key);
        let calls = recorded.calls.entry((key.0.filter(|_| known), reason)).or_default();
        *calls = calls.saturating_add(1);
        *calls > RECORDED_IN_FULL
    }

    /// Counts of all minutes that are over, or of all, with the content of their records.
    pub(crate) fn take(&self, now: Option<Timestamp>) -> Vec<(Key, Counts)> {
        let mut minutes = self.lock();
        let over = match now {
            Some(now) => {
                let rest = minutes.split_off(&minute(now));
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

    fn add(&self, (minute, source): Key, reason: Reason, count: u64) {
        let mut minutes = self.lock();
        let minute = match minutes.last_key_value() {
            Some((last, _)) if minutes.len() >= MOST_MINUTES && !minutes.contains_key(&minute) => *last,
            _ => minute,
        };
        let sources = minutes.entry(minute).or_default();
        // Each kind for itself: a flood of addresses hides no principal.
        let kind = source.as_ref().map(std::mem::discriminant);
        let alike = || sources.keys().filter(|it| it.as_ref().map(std::mem::discriminant) == kind).count();
        let known = sources.contains_key(&source) || sources.len() < MOST_SOURCES || alike() < MOST_SOURCES;
        let counts = sources.entry(source.filter(|_| known)).or_default();
        *counts.entry(reason).or_default() += count;
    }

    /// Nothing panics while it is held, so a poisoned lock has good content.
    fn lock(&self) -> MutexGuard<'_, Minutes> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds of the start of its minute.
fn minute(time: Timestamp) -> i64 {
    time.as_second().div_euclid(MINUTE) * MINUTE
}

/// A source that is told apart; none: its name is too long.
fn short(source: RefusedCaller) -> Option<RefusedCaller> {
    let long = matches!(&source, RefusedCaller::Principal(name) if name.len() > MAX_PRINCIPAL);
    (!long).then_some(source)
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

    fn reason(reason: &'static str) -> Reason {
        Reason { reason, method: None }
    }

    #[test]
    fn the_first_calls_of_a_principal_in_a_minute_are_not_counted() {
        let refusals = Refusals::default();
        let repeated =
            |principal: &str, second| refusals.count_repeated(principal, at(second), "denied", "Encrypt");
        let first = |principal: &str, second| (0..200).filter(|_| !repeated(principal, second)).count();
        assert_eq!(first("ann", 0), 60);
        assert_eq!(first("bob", 59), 60, "each for himself");
        assert_eq!(first("ann", 59), 0);
        assert_eq!(first("ann", 60), 60, "in the next minute anew");
        assert_eq!(first("ann", 59), 0, "a slow call does not begin its minute anew");
        assert_eq!(first("ann", 61), 0);
        assert_eq!(first("ann", -3600), 60, "a clock that went back does not silence the records");
        let denied = Reason { reason: "denied", method: Some("Encrypt") };
        let counted = refusals.take(None).iter().map(|(_, counts)| counts[&denied]).sum::<u64>();
        assert_eq!(counted, 7 * 200 - 4 * 60);

        // A flood of principals is as bounded as one of addresses.
        let recorded = (0..100_000).filter(|it| !repeated(&format!("{it}@example.com"), 7200)).count();
        assert_eq!(recorded, MOST_SOURCES + 60);
        let long = "x".repeat(MAX_PRINCIPAL + 1);
        assert!(repeated(&long, 7200), "one of the others");
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
            ((0, Some(source(1))), Counts::from([(reason("expired"), 1), (reason("none"), 2)])),
            ((0, Some(source(2))), Counts::from([(reason("none"), 1)])),
        ];
        assert_eq!(taken, expected);
        refusals.put_back(taken);
        refusals.count(source(2), at(1), "none");
        let mut taken = refusals.take(None);
        taken.sort();
        assert_eq!(taken.len(), 3);
        assert_eq!(taken[1], ((0, Some(source(2))), Counts::from([(reason("none"), 2)])));
    }

    #[test]
    fn a_flood_stays_small() {
        let refusals = Refusals::default();
        for n in 0..100_000 {
            refusals.count(source(n), at(i64::from(n % 2)), "none");
        }
        let taken = refusals.take(None);
        assert_eq!(taken.len(), MOST_SOURCES + 1);
        assert_eq!(taken.iter().map(|(_, counts)| counts[&reason("none")]).sum::<u64>(), 100_000);
        for minute in 0..1000 {
            refusals.count(source(1), at(minute * 60), "none");
        }
        let taken = refusals.take(None);
        assert_eq!(taken.len(), MOST_MINUTES);
        assert_eq!(taken.iter().map(|(_, counts)| counts[&reason("none")]).sum::<u64>(), 1000);
    }
}
