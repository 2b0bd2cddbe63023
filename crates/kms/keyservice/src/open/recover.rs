use keystead_audit::{Event, EventKind, Record, SafeFields};
use keystead_model::{CryptoKey, ErrorClass, KeyRing, KeyUid};
use keystead_store::{Batch, Expect, Write};

use crate::ledger::{KeptKey, KeptVersion};
use crate::records::{encode, record_name};
use crate::root::{Known, VersionEventKind, VersionId};
use crate::{KeyService, KmsError};

impl KeyService {
    /// All versions that the backup destinations hold, by key. Asked before anything is committed: a start that fails here is one
    /// that the next start repeats.
    pub(crate) async fn kept_versions(&self) -> Result<Vec<KeptKey>, KmsError> {
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
        kept: Vec<KeptKey>,
        known: &Known,
    ) -> Result<Vec<VersionId>, KmsError> {
        let mut recovered = Vec::new();
        for KeptKey { versions, left_out } in kept {
            // The oldest first: where the process ends in the middle, a number below the key's next one is still one that was
            // given before the backup.
            for kept in &versions {
                // The last one's copy of the key's record is the newest too.
                let newest = &versions.last().unwrap_or(kept).key;
                if known.kind(kept.id()) != Some(VersionEventKind::Destroyed)
                    && self.recover(kept, newest).await?
                {
                    recovered.push(kept.id());
                }
            }
            let given: Vec<&KeptVersion> = versions.iter().chain(&left_out).collect();
            self.give_no_number_again(&given).await?;
        }
        Ok(recovered)
    }

    async fn recover(&self, kept: &KeptVersion, newest: &CryptoKey) -> Result<bool, KmsError> {
        let name = &kept.version.name;
        let version = record_name::version(name);
        let stored = self.read::<CryptoKey>(&record_name::key(&name.key)).await?;
        if self.store.get(&version).await?.is_some() {
            return Ok(false);
        }
        let left = match &stored {
            Some(stored) if stored.value.uid != kept.key.uid => {
                Some("the database has another key of that name")
            }
            // Its number was given, and it is gone: only what is destroyed can be deleted.
            Some(stored) if name.version < stored.value.next_version => Some("it was deleted"),
            None if self.store.get(&record_name::key_name(&name.key)).await?.is_some() => {
                Some("its key was deleted")
            }
            _ => None,
        };
        if let Some(reason) = left {
            tracing::warn!(version = %name, reason, "not recovered from a backup destination");
            return Ok(false);
        }
        // Only what opens comes back: a file may be damaged, or of another server. It does not keep the others away.
        let (Some(material), Some(next_version)) = (self.opens(kept), name.version.next()) else {
            tracing::error!(version = %name, "the kept material in a backup destination is damaged");
            return Ok(false);
        };

        let mut batch = Batch::default()
            .create(version, encode(&kept.version)?)
            .create(record_name::material(name), material);
        let (key, expect) = match stored {
            Some(stored) => (CryptoKey { next_version, ..stored.value }, Expect::At(stored.revision)),
            None => {
                let ring = record_name::ring(&name.key.ring);
                if self.store.get(&ring).await?.is_none() {
                    let value = KeyRing { name: name.key.ring.clone(), create_time: kept.key.create_time };
                    batch = batch.create(ring, encode(&value)?);
                }
                let uid: KeyUid = kept.key.uid;
                batch = batch.create(record_name::key_name(&name.key), encode(&uid)?);
                (CryptoKey { next_version, ..newest.clone() }, Expect::Absent)
            }
        };
        let key_record = record_name::key(&name.key);
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

    /// Raises the number that a key gives next beyond those of all versions that are known of it: also of one that did not come
    /// back there may be ciphertexts.
    async fn give_no_number_again(&self, versions: &[&KeptVersion]) -> Result<(), KmsError> {
        let given = |it: &&KeptVersion| it.version.name.version.next().max(Some(it.key.next_version));
        let Some((last, next_version)) = versions.last().zip(versions.iter().filter_map(given).max()) else {
            return Ok(());
        };
        let record = record_name::key(&last.version.name.key);
        match self.read::<CryptoKey>(&record).await? {
            Some(stored) if stored.value.uid == last.key.uid && stored.value.next_version < next_version => {
                let key = CryptoKey { next_version, ..stored.value };
                let batch = Batch::default().replace(record, stored.revision, encode(&key)?);
                self.ledger.commit(batch, None).await.map_err(|it| it.error)?.complete().map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The sealed material, if it opens.
    fn opens(&self, kept: &KeptVersion) -> Option<Vec<u8>> {
        let material = hex::decode(&kept.material).ok()?;
        self.sealing.open(kept.key.uid, &kept.version.name, &material).ok()?;
        Some(material)
    }
}
