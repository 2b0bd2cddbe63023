use std::collections::HashMap;

use keystead_audit::{Event, EventKind, Record, SafeFields};
use keystead_model::{CryptoKey, ErrorClass, KeyRing, KeyUid, VersionNumber};
use keystead_store::{Batch, Expect, Write};

use crate::ledger::KeptVersion;
use crate::records::{encode, record_name};
use crate::root::{Known, VersionEventKind};
use crate::{KeyService, KmsError};

impl KeyService {
    /// All versions that the backup destinations hold. Asked before anything is committed: a start that fails here is one that
    /// the next start repeats.
    pub(crate) async fn kept_versions(&self) -> Result<Vec<KeptVersion>, KmsError> {
        if self.ledger.destinations().is_empty() {
            return Ok(Vec::new());
        }
        self.ledger.destinations().kept().await.map_err(|error| {
            KmsError::new(ErrorClass::Unavailable, format!("a backup destination cannot be read: {error}"))
        })
    }

    /// Brings back those of the kept versions that an older database lacks. A version that was destroyed stays so. Answers which
    /// came back.
    pub(crate) async fn recover_versions(
        &self,
        kept: Vec<KeptVersion>,
        known: &Known,
    ) -> Result<Vec<KeptVersion>, KmsError> {
        let (mut recovered, mut next) = (Vec::new(), HashMap::new());
        // The newest first: its copy of the key's record is the newest too.
        for kept in kept.into_iter().rev() {
            if known.kind(kept.id()) != Some(VersionEventKind::Destroyed)
                && self.recover(&kept, &mut next).await?
            {
                recovered.push(kept);
            }
        }
        Ok(recovered)
    }

    /// `next`: the numbers that the database would have given next, by key, before anything came back.
    async fn recover(
        &self,
        kept: &KeptVersion,
        next: &mut HashMap<KeyUid, VersionNumber>,
    ) -> Result<bool, KmsError> {
        let name = &kept.version.name;
        let version = record_name::version(name);
        let key_record = record_name::key(&name.key);
        let stored = self.read::<CryptoKey>(&key_record).await?;
        if self.store.get(&version).await?.is_some() {
            return Ok(false);
        }
        let left =
            |reason: &str| tracing::warn!(version = %name, reason, "not recovered from a backup destination");
        match &stored {
            Some(stored) if stored.value.uid != kept.key.uid => {
                left("the database has another key of that name");
                return Ok(false);
            }
            // Its number was given, and it is gone: only what is destroyed can be deleted.
            Some(stored) if name.version < *next.entry(kept.key.uid).or_insert(stored.value.next_version) => {
                left("it was deleted");
                return Ok(false);
            }
            None if self.store.get(&record_name::key_name(&name.key)).await?.is_some() => {
                left("its key was deleted");
                return Ok(false);
            }
            // Whatever else there is of the key is new to the database.
            _ => {
                next.entry(kept.key.uid).or_insert(VersionNumber::FIRST);
            }
        }
        // Only what opens comes back: a file may be damaged, or of another server. It does not keep the others away.
        let Some(material) = self.opens(kept) else {
            tracing::error!(version = %name, "the kept material in a backup destination is damaged");
            return Ok(false);
        };
        let damaged =
            || KmsError::new(ErrorClass::Corrupt, format!("the kept material of {name} is damaged"));

        let mut batch = Batch::default()
            .create(version, encode(&kept.version)?)
            .create(record_name::material(name), material);
        let next = name.version.next().ok_or_else(damaged)?;
        let (key, expect) = match stored {
            Some(stored) => {
                let next_version = stored.value.next_version.max(next);
                (CryptoKey { next_version, ..stored.value }, Expect::At(stored.revision))
            }
            None => {
                let ring = record_name::ring(&name.key.ring);
                if self.store.get(&ring).await?.is_none() {
                    let value = KeyRing { name: name.key.ring.clone(), create_time: kept.key.create_time };
                    batch = batch.create(ring, encode(&value)?);
                }
                let uid: KeyUid = kept.key.uid;
                batch = batch.create(record_name::key_name(&name.key), encode(&uid)?);
                (
                    CryptoKey { next_version: kept.key.next_version.max(next), ..kept.key.clone() },
                    Expect::Absent,
                )
            }
        };
        batch.writes.push(Write { name: key_record, expect, value: Some(encode(&key)?) });

        let mut id = [0; 16];
        self.random
            .fill(&mut id)
            .map_err(|_| KmsError::new(ErrorClass::Bug, "no random bytes can be had"))?;
        let id = hex::encode(id);
        let (service, method) = ("cloudkms.googleapis.com", "RecoverCryptoKeyVersion");
        let now = self.clock.now();
        let mut event = Event::new(id.as_str(), now, service, method, name.to_string(), EventKind::System);
        event.response =
            SafeFields::new().with("reason", "the database lacked it and a backup destination held it");
        let record = Record::of(&event);
        self.ledger.commit(batch, Some((&id, record))).await.map_err(|it| it.error)?.complete()?;
        tracing::warn!(version = %name, "recovered from a backup destination");
        Ok(true)
    }

    /// The sealed material, if it opens.
    fn opens(&self, kept: &KeptVersion) -> Option<Vec<u8>> {
        let material = hex::decode(&kept.material).ok()?;
        self.sealing.open(kept.key.uid, &kept.version.name, &material).ok()?;
        Some(material)
    }
}
