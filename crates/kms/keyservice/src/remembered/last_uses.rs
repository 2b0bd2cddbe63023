use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use keystead_model::{CryptoKeyName, CryptoKeyVersionName};

use crate::records::usage::{StoredUsage, UseKind};

/// Uses of the versions that this process has used.
#[derive(Default)]
pub(crate) struct LastUses(Mutex<HashMap<CryptoKeyVersionName, Seen>>);

struct Seen {
    now: StoredUsage,
    written: StoredUsage,
    /// A use is written at once unless one beyond these is: an inventory came after them, or the process before this one was
    /// killed with later ones in its memory. Counted, because a clock that was ahead dates uses later than any that follow.
    prove_beyond: StoredUsage,
    /// When the newest inventory of the key was taken. A use that comes after it was registered was not counted, and is dated accordingly
    /// whatever the clock says: one that went back would have it look as if it had been.
    not_before: Timestamp,
}

impl LastUses {
    /// Counts a use, and says whether it must be stored at once; none: what is stored is not known yet, and nothing was counted.
    pub(crate) fn note(&self, name: &CryptoKeyVersionName, kind: UseKind, at: Timestamp) -> Option<bool> {
        let mut uses = self.lock();
        let Seen { now, written, prove_beyond, not_before } = uses.get_mut(name)?;
        let (count, last, written, prove_beyond) = match kind {
            UseKind::Encrypt => {
                (&mut now.encrypts, &mut now.last_encrypt, written.encrypts, prove_beyond.encrypts)
            }
            UseKind::Decrypt => {
                (&mut now.decrypts, &mut now.last_decrypt, written.decrypts, prove_beyond.decrypts)
            }
        };
        *count = count.saturating_add(1);
        *last = (*last).max(Some(at.max(*not_before)));
        Some(written <= prove_beyond)
    }

    /// Takes what is stored, and when the newest inventory of the key was taken, unless somebody else did.
    pub(crate) fn begin(&self, name: &CryptoKeyVersionName, stored: StoredUsage, not_before: Timestamp) {
        let seen = Seen { now: stored, written: stored, prove_beyond: stored, not_before };
        self.lock().entry(name.clone()).or_insert(seen);
    }

    /// An inventory that was taken then is about to count: from now on the next use of each version of the key is written at once, and is later
    /// than that. Answers those versions of which something is not written yet.
    pub(crate) fn prove(&self, key: &CryptoKeyName, taken: Timestamp) -> Vec<CryptoKeyVersionName> {
        let mut unwritten = Vec::new();
        for (name, seen) in self.lock().iter_mut().filter(|(name, _)| name.key == *key) {
            seen.prove_beyond = seen.now;
            seen.not_before = seen.not_before.max(taken);
            if seen.now != seen.written {
                unwritten.push(name.clone());
            }
        }
        unwritten
    }

    pub(crate) fn seen(&self, name: &CryptoKeyVersionName) -> Option<StoredUsage> {
        self.lock().get(name).map(|seen| seen.now)
    }

    pub(crate) fn unwritten(&self, stale_s: i64) -> Vec<CryptoKeyVersionName> {
        let stale = |now: Option<Timestamp>, written: Option<Timestamp>| match (now, written) {
            (Some(now), Some(written)) => now.as_second() - written.as_second() >= stale_s,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let uses = self.lock();
        let unwritten = uses.iter().filter(|(_, Seen { now, written, .. })| {
            now != written
                && (stale(now.last_encrypt, written.last_encrypt)
                    || stale(now.last_decrypt, written.last_decrypt))
        });
        unwritten.map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn written(&self, name: &CryptoKeyVersionName, usage: StoredUsage) {
        if let Some(seen) = self.lock().get_mut(name)
            && !seen.written.covers(&usage)
        {
            seen.written = usage;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CryptoKeyVersionName, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
