//! Who uses a version, as far as the server knows: what is asked before anything is destroyed.

use jiff::Timestamp;
use keystead_model::CryptoKeyVersionName;
use keystead_model::destruction::Usage;
use keystead_store::Batch;
use serde::{Deserialize, Serialize};

use crate::operations::{Inventory, VersionUsage};
use crate::records::encode;
use crate::{KeyService, KmsError, record_name};

/// A last use is written again when the stored one is older: hours do not matter to a rule of seven days.
const STALE_S: i64 = 3600;

/// What is stored of a version's use.
#[derive(Debug, Default, Serialize, Deserialize)]
struct StoredUsage {
    last_unwrap: Option<Timestamp>,
}

impl KeyService {
    /// Who uses a version, for the planner of destruction.
    pub(crate) async fn usage(&self, name: &CryptoKeyVersionName) -> Result<Usage, KmsError> {
        let VersionUsage { last_decrypt_time, inventories } = self.version_usage(name).await?;
        let in_words = |inventory: Inventory| {
            let objects = inventory.counts.get(&name.version).copied().unwrap_or_default();
            format!("{} had {objects} objects under it at {}", inventory.source, inventory.observe_time)
        };
        Ok(Usage {
            last_unwrap: last_decrypt_time,
            inventories: inventories.into_iter().map(in_words).collect(),
        })
    }

    /// When a version last decrypted something: what is stored, and what this process has seen since.
    pub(crate) async fn last_unwrap(
        &self,
        name: &CryptoKeyVersionName,
    ) -> Result<Option<Timestamp>, KmsError> {
        let stored: Option<StoredUsage> =
            self.read(&record_name::usage(name)).await?.map(|stored| stored.value);
        Ok(stored.and_then(|stored| stored.last_unwrap).max(self.remembered.last_uses.seen(name)))
    }

    /// Writes what this process has seen and the store does not know yet. The schedule calls it, and the end of the process.
    pub async fn write_usage(&self) -> Result<(), KmsError> {
        for (name, at) in self.remembered.last_uses.unwritten(STALE_S) {
            let usage = StoredUsage { last_unwrap: Some(at) };
            let batch = Batch::default().put(record_name::usage(&name), encode(&usage)?);
            self.ledger.commit(batch, None).await.map_err(|it| it.error)?.complete()?;
            self.remembered.last_uses.written(&name, at);
        }
        Ok(())
    }
}

/// Last uses in this process, by version.
#[derive(Default)]
pub(crate) struct LastUses(std::sync::Mutex<std::collections::HashMap<CryptoKeyVersionName, LastUse>>);

struct LastUse {
    at: Timestamp,
    written: Option<Timestamp>,
}

impl LastUses {
    /// Notes a use. Most calls find a use of the same second and change nothing.
    pub(crate) fn note(&self, name: &CryptoKeyVersionName, at: Timestamp) {
        let mut uses = self.lock();
        match uses.get_mut(name) {
            Some(last) => last.at = last.at.max(at),
            None => {
                uses.insert(name.clone(), LastUse { at, written: None });
            }
        }
    }

    fn seen(&self, name: &CryptoKeyVersionName) -> Option<Timestamp> {
        self.lock().get(name).map(|last| last.at)
    }

    fn unwritten(&self, stale_s: i64) -> Vec<(CryptoKeyVersionName, Timestamp)> {
        let stale = |last: &LastUse| {
            last.written.is_none_or(|written| last.at.as_second() - written.as_second() >= stale_s)
        };
        self.lock()
            .iter()
            .filter(|(_, last)| stale(last))
            .map(|(name, last)| (name.clone(), last.at))
            .collect()
    }

    fn written(&self, name: &CryptoKeyVersionName, at: Timestamp) {
        if let Some(last) = self.lock().get_mut(name) {
            last.written = Some(at);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<CryptoKeyVersionName, LastUse>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
