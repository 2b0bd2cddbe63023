//! Who uses a version, as far as the server knows: what is asked before anything is destroyed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use keystead_model::CryptoKeyVersionName;
use keystead_model::destruction::{Usage, Uses};
use keystead_store::Batch;
use serde::{Deserialize, Serialize};

use crate::operations::{Inventory, VersionUsage};
use crate::records::{encode, record_name};
use crate::{KeyService, KmsError};

/// A last use is written again when the stored one is older: a rule of days does not need hours.
const STALE_S: i64 = 3600;
/// Versions whose uses are written with one commit.
const WRITTEN_TOGETHER: usize = 64;

/// What is stored of a version's use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct StoredUsage {
    #[serde(default)]
    encrypts: u64,
    #[serde(default)]
    last_encrypt: Option<Timestamp>,
    #[serde(default)]
    decrypts: u64,
    #[serde(default)]
    last_decrypt: Option<Timestamp>,
}

/// What a version was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UseKind {
    Encrypt,
    Decrypt,
}

impl KeyService {
    /// Who uses a version, for the planner of destruction.
    pub(crate) async fn usage(&self, name: &CryptoKeyVersionName) -> Result<Usage, KmsError> {
        let VersionUsage { encrypts, decrypts, inventories, inventories_since } =
            self.version_usage(name).await?;
        let in_words = |inventory: Inventory| {
            let objects = inventory.counts.get(&name.version).copied().unwrap_or_default();
            format!("{} had {objects} objects under it at {}", inventory.source, inventory.observe_time)
        };
        let inventories = inventories.into_iter().map(in_words).collect();
        Ok(Usage { encrypts, decrypts, inventories, inventories_since })
    }

    /// How often a version encrypted and decrypted: what is stored, and what this process has seen since.
    pub(crate) async fn uses(&self, name: &CryptoKeyVersionName) -> Result<[Uses; 2], KmsError> {
        let known = match self.remembered.last_uses.seen(name) {
            Some(known) => known,
            None => self.stored_usage(name).await?,
        };
        Ok([
            Uses { count: known.encrypts, last: known.last_encrypt },
            Uses { count: known.decrypts, last: known.last_decrypt },
        ])
    }

    /// Notes a use. The first Encrypt of a version is stored before it is answered: what is under the version must never count
    /// as unused.
    pub(crate) async fn note_use(
        &self,
        name: &CryptoKeyVersionName,
        kind: UseKind,
        at: Timestamp,
    ) -> Result<(), KmsError> {
        let uses = &self.remembered.last_uses;
        let must_be_stored = match uses.note(name, kind, at) {
            Some(must_be_stored) => must_be_stored,
            None => {
                uses.begin(name, self.stored_usage(name).await?);
                uses.note(name, kind, at).unwrap_or_default()
            }
        };
        if !must_be_stored {
            return Ok(());
        }
        let Some(usage) = uses.seen(name) else { return Ok(()) };
        self.write_uses(&[(name.clone(), usage)]).await
    }

    /// Writes what this process has seen and the store does not know yet. The schedule calls it.
    pub async fn write_usage(&self) -> Result<(), KmsError> {
        self.write_older_than(STALE_S).await
    }

    /// Writes all that the store does not know yet, for the end of the process.
    pub async fn write_all_usage(&self) -> Result<(), KmsError> {
        self.write_older_than(0).await
    }

    async fn write_older_than(&self, seconds: i64) -> Result<(), KmsError> {
        for together in self.remembered.last_uses.unwritten(seconds).chunks(WRITTEN_TOGETHER) {
            self.write_uses(together).await?;
        }
        Ok(())
    }

    async fn write_uses(&self, uses: &[(CryptoKeyVersionName, StoredUsage)]) -> Result<(), KmsError> {
        let mut batch = Batch::default();
        for (name, usage) in uses {
            batch = batch.put(record_name::usage(name), encode(usage)?);
        }
        self.ledger.commit(batch, None).await.map_err(|it| it.error)?.complete()?;
        for (name, usage) in uses {
            self.remembered.last_uses.written(name, *usage);
        }
        Ok(())
    }

    async fn stored_usage(&self, name: &CryptoKeyVersionName) -> Result<StoredUsage, KmsError> {
        let stored = self.read::<StoredUsage>(&record_name::usage(name)).await?;
        Ok(stored.map(|stored| stored.value).unwrap_or_default())
    }
}

/// Uses of the versions that this process has used.
#[derive(Default)]
pub(crate) struct LastUses(Mutex<HashMap<CryptoKeyVersionName, Seen>>);

struct Seen {
    now: StoredUsage,
    written: StoredUsage,
}

impl LastUses {
    /// Counts a use, and says whether it must be stored at once; none: what is stored is not known yet, and nothing was counted.
    fn note(&self, name: &CryptoKeyVersionName, kind: UseKind, at: Timestamp) -> Option<bool> {
        let mut uses = self.lock();
        let Seen { now, written } = uses.get_mut(name)?;
        let (count, last) = match kind {
            UseKind::Encrypt => (&mut now.encrypts, &mut now.last_encrypt),
            UseKind::Decrypt => (&mut now.decrypts, &mut now.last_decrypt),
        };
        *count = count.saturating_add(1);
        *last = (*last).max(Some(at));
        Some(kind == UseKind::Encrypt && written.last_encrypt.is_none())
    }

    /// Takes what is stored, unless somebody else did.
    fn begin(&self, name: &CryptoKeyVersionName, stored: StoredUsage) {
        self.lock().entry(name.clone()).or_insert(Seen { now: stored, written: stored });
    }

    fn seen(&self, name: &CryptoKeyVersionName) -> Option<StoredUsage> {
        self.lock().get(name).map(|seen| seen.now)
    }

    fn unwritten(&self, stale_s: i64) -> Vec<(CryptoKeyVersionName, StoredUsage)> {
        let stale = |now: Option<Timestamp>, written: Option<Timestamp>| match (now, written) {
            (Some(now), Some(written)) => now.as_second() - written.as_second() >= stale_s,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let uses = self.lock();
        let unwritten = uses.iter().filter(|(_, Seen { now, written })| {
            now != written
                && (stale(now.last_encrypt, written.last_encrypt)
                    || stale(now.last_decrypt, written.last_decrypt))
        });
        unwritten.map(|(name, seen)| (name.clone(), seen.now)).collect()
    }

    fn written(&self, name: &CryptoKeyVersionName, usage: StoredUsage) {
        if let Some(seen) = self.lock().get_mut(name) {
            seen.written = usage;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CryptoKeyVersionName, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
