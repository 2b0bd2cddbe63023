//! Who uses a version, as far as the server knows: what is asked before anything is destroyed.

use jiff::Timestamp;
use keystead_model::destruction::{Usage, Uses};
use keystead_model::{CryptoKeyName, CryptoKeyVersionName, ErrorClass, to_microseconds};
use keystead_store::{Batch, Expect, Write};

use crate::ledger::Uncommitted;
use crate::records::usage::{Inventory, Restored, StoredUsage, UseKind};
use crate::records::{encode, record_name};
use crate::{KeyService, KmsError};

/// A last use is written again when the stored one is older: a rule of days does not need hours.
const STALE_S: i64 = 3600;
/// Versions whose uses are written with one commit.
const WRITTEN_TOGETHER: usize = 64;

/// Who uses a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionUsage {
    /// How often it encrypted since the server began to count, and when last.
    pub encrypts: Uses,
    /// How often it decrypted, and when last.
    pub decrypts: Uses,
    /// Inventories that name it.
    pub inventories: Vec<Inventory>,
    /// When the oldest inventory of the key was taken, whether or not it names the version; none: there is none.
    pub inventories_since: Option<Timestamp>,
    /// An older database was put back at this time, and the version is older: what was used before is not known.
    pub unknown_before: Option<Timestamp>,
}

impl KeyService {
    /// Who uses a version, for the planner of destruction.
    pub(crate) async fn usage(&self, name: &CryptoKeyVersionName) -> Result<Usage, KmsError> {
        let VersionUsage { encrypts, decrypts, inventories, inventories_since, unknown_before } =
            self.version_usage(name).await?;
        let in_words = |inventory: Inventory| {
            let objects = inventory.counts.get(&name.version).copied().unwrap_or_default();
            format!("{} had {objects} objects under it at {}", inventory.source, inventory.observe_time)
        };
        let inventories = inventories.into_iter().map(in_words).collect();
        Ok(Usage { encrypts, decrypts, inventories, inventories_since, unknown_before })
    }

    /// Who uses a version: what sources registered, and what it encrypted and decrypted.
    pub(crate) async fn version_usage(&self, name: &CryptoKeyVersionName) -> Result<VersionUsage, KmsError> {
        let all: Vec<Inventory> = self.read_all(&record_name::inventories(&name.key)).await?;
        let names_it =
            |inventory: &Inventory| inventory.counts.get(&name.version).is_some_and(|count| *count > 0);
        let [encrypts, decrypts] = self.uses(name).await?;
        let inventories_since = all.iter().map(|inventory| inventory.observe_time).min();
        let inventories = all.into_iter().filter(names_it).collect();
        let unknown_before = self.uses_unknown_before(name).await?;
        Ok(VersionUsage { encrypts, decrypts, inventories, inventories_since, unknown_before })
    }

    /// Notes that the database is an older one than callers have used: versions that it has, or that come back, may have been
    /// used since without a trace. `unfinished`: what backup destinations hold has still to come back.
    pub(crate) async fn note_restored(&self, unfinished: bool) -> Result<(), KmsError> {
        let restored = Restored { time: to_microseconds(self.clock.now()), unfinished };
        let batch = Batch::default().put(record_name::RESTORED.to_owned(), encode(&restored)?);
        self.ledger.commit(batch, None).await.map_err(|it| it.error)?.complete()?;
        Ok(())
    }

    async fn uses_unknown_before(&self, name: &CryptoKeyVersionName) -> Result<Option<Timestamp>, KmsError> {
        let Some(restored) = self.read::<Restored>(record_name::RESTORED).await? else { return Ok(None) };
        let made = self.read_version(&name.key, name.version).await?.value.create_time;
        Ok(Some(restored.value.time).filter(|it| made <= *it))
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

    /// Notes a use. The first of a version is stored before it is answered, and so is the first in each process and the first
    /// after an inventory was registered: what is under the version must never count as unused because a process was killed.
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
        self.write_uses(std::slice::from_ref(name)).await
    }

    /// Writes what this process has seen and the store does not know yet. The schedule calls it.
    pub async fn write_usage(&self) -> Result<(), KmsError> {
        self.write_older_than(STALE_S).await
    }

    /// Writes all that the store does not know yet, for the end of the process.
    pub async fn write_all_usage(&self) -> Result<(), KmsError> {
        self.write_older_than(0).await
    }

    /// Before an inventory counts: whatever was used until now is stored, and the next use of each version will be.
    pub(crate) async fn prove_uses(&self, key: &CryptoKeyName) -> Result<(), KmsError> {
        let unwritten = self.remembered.last_uses.prove(key);
        self.write_together(&unwritten).await
    }

    async fn write_older_than(&self, seconds: i64) -> Result<(), KmsError> {
        self.write_together(&self.remembered.last_uses.unwritten(seconds)).await
    }

    async fn write_together(&self, names: &[CryptoKeyVersionName]) -> Result<(), KmsError> {
        for together in names.chunks(WRITTEN_TOGETHER) {
            self.write_uses(together).await?;
        }
        Ok(())
    }

    /// Writes what is known of these versions. A writer that was slower, or whose caller has gone away, takes nothing back that a
    /// faster one has written: it starts over.
    async fn write_uses(&self, names: &[CryptoKeyVersionName]) -> Result<(), KmsError> {
        let uses = &self.remembered.last_uses;
        loop {
            let (mut batch, mut written) = (Batch::default(), Vec::new());
            for name in names {
                let Some(usage) = uses.seen(name) else { continue };
                let record = record_name::usage(name);
                let stored = self.read::<StoredUsage>(&record).await?;
                if stored.as_ref().is_none_or(|stored| !stored.value.covers(&usage)) {
                    let expect = stored.map_or(Expect::Absent, |stored| Expect::At(stored.revision));
                    batch.writes.push(Write { name: record, expect, value: Some(encode(&usage)?) });
                }
                written.push((name, usage));
            }
            if !batch.writes.is_empty() {
                match self.ledger.commit(batch, None).await {
                    Ok(committed) => committed.complete().map(drop)?,
                    Err(Uncommitted { error, .. })
                        if [ErrorClass::Aborted, ErrorClass::AlreadyExists].contains(&error.class()) =>
                    {
                        continue;
                    }
                    Err(Uncommitted { error, .. }) => return Err(error),
                }
            }
            written.into_iter().for_each(|(name, usage)| uses.written(name, usage));
            return Ok(());
        }
    }

    async fn stored_usage(&self, name: &CryptoKeyVersionName) -> Result<StoredUsage, KmsError> {
        let stored = self.read::<StoredUsage>(&record_name::usage(name)).await?;
        Ok(stored.map(|stored| stored.value).unwrap_or_default())
    }
}
