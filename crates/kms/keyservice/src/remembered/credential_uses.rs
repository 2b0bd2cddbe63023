use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::LastUse;

/// A last use is written again when the stored one is this much older, in seconds.
const STALE_S: i64 = 3600;
/// Credentials that are kept in memory, of about 200 bytes each. A use that finds no place is not noted; there is place again
/// within seconds, when what is here has been written.
const MOST: usize = 10_000;

/// Uses that this process has seen, by the record of the credential: those of the last hour, and what is not written yet.
#[derive(Default)]
pub(crate) struct CredentialUses(Mutex<HashMap<String, Seen>>);

struct Seen {
    now: LastUse,
    /// When the stored use was; none: nobody has looked yet.
    stored: Option<Timestamp>,
}

impl Seen {
    /// Whether the stored use is an hour older, or of a clock that was set back since.
    fn is_due(&self) -> bool {
        self.stored.is_none_or(|stored| is_stale(stored, self.now.time))
    }
}

/// Whether a stored use must be written again, now that there is a newer one.
pub(crate) fn is_stale(stored: Timestamp, now: Timestamp) -> bool {
    now.as_second().abs_diff(stored.as_second()) >= STALE_S.unsigned_abs()
}

impl CredentialUses {
    /// Notes a use of the credential that this record is of.
    pub(crate) fn note(&self, record: String, now: LastUse) {
        let mut uses = self.lock();
        if let Some(seen) = uses.get_mut(&record) {
            seen.now = now;
        } else if uses.len() < MOST {
            uses.insert(record, Seen { now, stored: None });
        }
    }

    /// What has to be written. Forgets what need not be known any more; when many are known, all that is written.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<(String, LastUse)> {
        let mut uses = self.lock();
        let crowded = uses.len() > MOST / 2;
        uses.retain(|_, seen| seen.is_due() || !(crowded || is_stale(seen.now.time, now)));
        let due = uses.iter().filter(|(_, seen)| seen.is_due());
        due.map(|(record, seen)| (record.clone(), seen.now)).collect()
    }

    /// Takes what is stored now; none: there is no such record.
    pub(crate) fn stored(&self, record: &str, time: Option<Timestamp>) {
        let mut uses = self.lock();
        if time.is_none() {
            uses.remove(record);
        } else if let Some(seen) = uses.get_mut(record) {
            seen.stored = time;
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
