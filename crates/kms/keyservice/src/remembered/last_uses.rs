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
    /// A use is written at once unless one after this is: an inventory may be as new as this, or the process before this one
    /// was killed with later uses in its memory. None: nothing was known of any use.
    prove_after: Option<Timestamp>,
}

impl LastUses {
    /// Counts a use, and says whether it must be stored at once; none: what is stored is not known yet, and nothing was counted.
    pub(crate) fn note(&self, name: &CryptoKeyVersionName, kind: UseKind, at: Timestamp) -> Option<bool> {
        let mut uses = self.lock();
        let Seen { now, written, prove_after } = uses.get_mut(name)?;
        let (count, last) = match kind {
            UseKind::Encrypt => (&mut now.encrypts, &mut now.last_encrypt),
            UseKind::Decrypt => (&mut now.decrypts, &mut now.last_decrypt),
        };
        *count = count.saturating_add(1);
        *last = (*last).max(Some(at));
        let written = match kind {
            UseKind::Encrypt => written.last_encrypt,
            UseKind::Decrypt => written.last_decrypt,
        };
        Some(written.is_none_or(|it| Some(it) <= *prove_after))
    }

    /// Takes what is stored, unless somebody else did.
    pub(crate) fn begin(&self, name: &CryptoKeyVersionName, stored: StoredUsage) {
        let prove_after = stored.last_encrypt.max(stored.last_decrypt);
        self.lock().entry(name.clone()).or_insert(Seen { now: stored, written: stored, prove_after });
    }

    /// From now on the next use of each version of a key is written at once. Answers those that are not written yet.
    pub(crate) fn prove(
        &self,
        key: &CryptoKeyName,
        now: Timestamp,
    ) -> Vec<(CryptoKeyVersionName, StoredUsage)> {
        let mut unwritten = Vec::new();
        for (name, seen) in self.lock().iter_mut().filter(|(name, _)| name.key == *key) {
            seen.prove_after = Some(now);
            if seen.now != seen.written {
                unwritten.push((name.clone(), seen.now));
            }
        }
        unwritten
    }

    pub(crate) fn seen(&self, name: &CryptoKeyVersionName) -> Option<StoredUsage> {
        self.lock().get(name).map(|seen| seen.now)
    }

    pub(crate) fn unwritten(&self, stale_s: i64) -> Vec<(CryptoKeyVersionName, StoredUsage)> {
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
        unwritten.map(|(name, seen)| (name.clone(), seen.now)).collect()
    }

    pub(crate) fn written(&self, name: &CryptoKeyVersionName, usage: StoredUsage) {
        if let Some(seen) = self.lock().get_mut(name) {
            seen.written = usage;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CryptoKeyVersionName, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
