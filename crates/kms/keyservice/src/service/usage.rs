//! Who uses a version, as far as the server knows: what is asked before anything is destroyed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keystead_model::destruction::{ClusterUser, Counted, Usage, User, Uses};
use keystead_model::{
    Cluster, CryptoKey, CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName, ErrorClass, VersionNumber,
    VersionState, to_microseconds,
};
use keystead_store::{Batch, Expect, Write};

use crate::ledger::Uncommitted;
use crate::records::usage::{Inventory, Restored, StoredUsage, UseKind};
use crate::records::{Stored, encode, record_name};
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
    /// Clusters that need it.
    pub clusters: Vec<ClusterUser>,
    /// Inventories that name it, and are not of a cluster that needs the key.
    pub inventories: Vec<Inventory>,
    /// When the oldest inventory of the key was taken, whether or not it names the version; none: there is none.
    pub inventories_since: Option<Timestamp>,
    /// An older database was put back at this time, and the version is older: what was used before is not known.
    pub unknown_before: Option<Timestamp>,
}

/// A cluster that needs a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedCluster {
    /// The cluster.
    pub cluster: Cluster,
    /// The versions of the key that it needs, the primary first.
    pub versions: Vec<VersionNumber>,
}

/// Who needs a key.
struct KeyUsers {
    primary: Option<VersionNumber>,
    /// Clusters whose stored values may be under it.
    clusters: Vec<Cluster>,
    /// What every source said about it, by the source.
    inventories: BTreeMap<String, Inventory>,
}

impl KeyUsers {
    /// Whether a cluster needs a version under which something was last encrypted then, or may have been.
    fn need(
        &self,
        cluster: &Cluster,
        version: VersionNumber,
        written: Option<Timestamp>,
    ) -> Option<ClusterUser> {
        let inventory = self.inventories.get(&Inventory::source_of(cluster));
        let counted = inventory.map(|inventory| Counted {
            objects: inventory.counts.get(&version).copied().unwrap_or_default(),
            time: inventory.observe_time,
        });
        ClusterUser::of(&cluster.name, self.primary == Some(version), written, counted)
    }
}

impl KeyService {
    /// Who uses a version, for the planner of destruction.
    pub(crate) async fn usage(
        &self,
        key: &Stored<CryptoKey>,
        version: VersionNumber,
    ) -> Result<Usage, KmsError> {
        let VersionUsage { encrypts, decrypts, clusters, inventories, inventories_since, unknown_before } =
            self.version_usage(key, version).await?;
        let in_words = |inventory: Inventory| {
            let objects = inventory.counts.get(&version).copied().unwrap_or_default();
            let why = format!("had {objects} objects under it at {}", inventory.observe_time);
            User { who: inventory.source, why }
        };
        let inventories = inventories.into_iter().map(in_words).collect();
        Ok(Usage { encrypts, decrypts, inventories, clusters, inventories_since, unknown_before })
    }

    /// Who uses a version: clusters that need it, what sources registered, and what it encrypted and decrypted.
    pub(crate) async fn version_usage(
        &self,
        key: &Stored<CryptoKey>,
        version: VersionNumber,
    ) -> Result<VersionUsage, KmsError> {
        let name = CryptoKeyVersionName { key: key.value.name.clone(), version };
        let users = self.key_users(key).await?;
        let [encrypts, decrypts] = self.uses(&name).await?;
        let unknown_before = self.uses_unknown_before(&name).await?;
        let written = encrypts.last.max(unknown_before);
        let needs = |cluster: &Cluster| users.need(cluster, version, written);
        let clusters = users.clusters.iter().filter_map(needs).collect();
        let mut inventories = users.inventories;
        let inventories_since = inventories.values().map(|inventory| inventory.observe_time).min();
        for cluster in &users.clusters {
            inventories.remove(&Inventory::source_of(cluster));
        }
        let names_it = |inventory: &Inventory| inventory.counts.get(&version).is_some_and(|count| *count > 0);
        let inventories = inventories.into_values().filter(names_it).collect();
        Ok(VersionUsage { encrypts, decrypts, clusters, inventories, inventories_since, unknown_before })
    }

    /// Who needs a key, as of its record as it was read. Whoever goes on to change the key, or a version of it, for what this
    /// answers, writes the record of the key too: a cluster that comes to need the key does so, and one of both starts over.
    async fn key_users(&self, key: &Stored<CryptoKey>) -> Result<KeyUsers, KmsError> {
        let name = &key.value.name;
        let records = match self.ledger.all_is_read().await {
            true => self.remembered.needed_keys.clusters(name, key.revision),
            false => None,
        };
        let records = records.ok_or_else(|| {
            let text = format!("Which clusters need key {name} cannot be said at this moment. Please retry.");
            KmsError::new(ErrorClass::Unavailable, text)
        })?;
        let mut clusters = Vec::new();
        for record in records {
            let cluster = self.read::<Cluster>(&record).await?;
            clusters.extend(
                cluster.map(|stored| stored.value).filter(|cluster| cluster.needed_to_read().contains(name)),
            );
        }
        let inventories: Vec<Inventory> = self.read_all(&record_name::inventories(name)).await?;
        let inventories = inventories.into_iter().map(|it| (it.source.clone(), it)).collect();
        Ok(KeyUsers { primary: key.value.primary, clusters, inventories })
    }

    /// Every cluster that needs a key.
    pub(crate) async fn protected_clusters(
        &self,
        key: &Stored<CryptoKey>,
    ) -> Result<Vec<ProtectedCluster>, KmsError> {
        let users = self.key_users(key).await?;
        let none_yet =
            |cluster: &Cluster| ProtectedCluster { cluster: cluster.clone(), versions: Vec::new() };
        let mut protected: Vec<ProtectedCluster> = users.clusters.iter().map(none_yet).collect();
        if protected.is_empty() {
            return Ok(protected);
        }
        let versions = self.read_all::<CryptoKeyVersion>(&record_name::versions(&key.value.name)).await?;
        for CryptoKeyVersion { name, state, .. } in versions {
            if state == VersionState::Destroyed {
                continue;
            }
            let [encrypts, _] = self.uses(&name).await?;
            let written = encrypts.last.max(self.uses_unknown_before(&name).await?);
            for it in &mut protected {
                if users.need(&it.cluster, name.version, written).is_some() {
                    it.versions.push(name.version);
                }
            }
        }
        for it in &mut protected {
            it.versions.sort_by_key(|version| (users.primary != Some(*version), *version));
        }
        Ok(protected)
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
                uses.begin(name, self.stored_usage(name).await?, self.last_counted(&name.key).await?);
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
    pub(crate) async fn prove_uses(&self, key: &CryptoKeyName, taken: Timestamp) -> Result<(), KmsError> {
        let unwritten = self.remembered.last_uses.prove(key, taken);
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

    /// When the newest inventory of a key was taken.
    async fn last_counted(&self, key: &CryptoKeyName) -> Result<Timestamp, KmsError> {
        let inventories: Vec<Inventory> = self.read_all(&record_name::inventories(key)).await?;
        Ok(inventories.into_iter().map(|it| it.observe_time).max().unwrap_or(Timestamp::MIN))
    }

    async fn stored_usage(&self, name: &CryptoKeyVersionName) -> Result<StoredUsage, KmsError> {
        let stored = self.read::<StoredUsage>(&record_name::usage(name)).await?;
        Ok(stored.map(|stored| stored.value).unwrap_or_default())
    }
}
