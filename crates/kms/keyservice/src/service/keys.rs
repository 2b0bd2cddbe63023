//! Keys and their versions: found by name, and made.

use std::sync::Arc;

use jiff::Timestamp;
use keystead_model::{
    CryptoKey, CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName, ErrorClass, VersionNumber,
};
use keystead_store::Batch;

use crate::key_material::ActiveVersion;
use crate::records::{Stored, encode, record_name};
use crate::{KeyService, KmsError};

/// A version whose material is made and sealed, and not committed yet.
pub(crate) struct NewVersion {
    pub(crate) record: CryptoKeyVersion,
    sealed: Vec<u8>,
}

impl KeyService {
    /// A key, from memory or with one read.
    pub(crate) async fn key(&self, name: &CryptoKeyName) -> Result<Arc<CryptoKey>, KmsError> {
        let record = record_name::key(name);
        if let Some(key) = self.remembered.keys.get(&record) {
            return Ok(key);
        }
        let read_after = self.remembered.keys.epoch();
        let key = Arc::new(self.read_key(name).await?.value);
        self.remembered.keys.keep(&record, &key, read_after);
        Ok(key)
    }

    /// A version with its material, from memory or with one read of each of its two records. `None`: there is no such
    /// version.
    pub(crate) async fn version(
        &self,
        key: &CryptoKey,
        number: VersionNumber,
    ) -> Result<Option<Arc<ActiveVersion>>, KmsError> {
        let name = CryptoKeyVersionName { key: key.name.clone(), version: number };
        let record = record_name::version(&name);
        if let Some(version) = self.remembered.versions.get(&record) {
            return Ok(Some(version));
        }
        let read_after = self.remembered.versions.epoch();
        let Some(stored) = self.read::<CryptoKeyVersion>(&record).await? else { return Ok(None) };
        let material = match self.store.get(&record_name::material(&name)).await? {
            Some(sealed) => Some(self.sealing.open(key.uid, &name, &sealed.value)?),
            None => None,
        };
        let version = Arc::new(ActiveVersion { name: name.to_string(), material, record: stored.value });
        self.remembered.versions.keep(&record, &version, read_after);
        Ok(Some(version))
    }

    /// The record of a key, from the store.
    pub(crate) async fn read_key(&self, name: &CryptoKeyName) -> Result<Stored<CryptoKey>, KmsError> {
        let key = self.read(&record_name::key(name)).await?;
        key.ok_or_else(|| KmsError::not_found("CryptoKey", name))
    }

    /// The record of a version, from the store.
    pub(crate) async fn read_version(
        &self,
        key: &CryptoKeyName,
        number: VersionNumber,
    ) -> Result<Stored<CryptoKeyVersion>, KmsError> {
        let name = CryptoKeyVersionName { key: key.clone(), version: number };
        let version = self.read(&record_name::version(&name)).await?;
        version.ok_or_else(|| KmsError::not_found("CryptoKeyVersion", name))
    }

    /// Makes material for version `number` of `key`. Nothing is written; a number that somebody else takes first fails the
    /// commit, and the material is forgotten.
    pub(crate) async fn new_version(
        &self,
        key: &CryptoKey,
        number: VersionNumber,
        now: Timestamp,
    ) -> Result<NewVersion, KmsError> {
        let name = CryptoKeyVersionName { key: key.name.clone(), version: number };
        let sealed = self.sealing.generate(key.uid, number, self.random.as_ref())?;
        Ok(NewVersion { record: CryptoKeyVersion::generated(name, now), sealed })
    }
}

impl NewVersion {
    /// Adds its two records.
    pub(crate) fn add_to(&self, batch: Batch) -> Result<Batch, KmsError> {
        Ok(batch
            .create(record_name::version(&self.record.name), encode(&self.record)?)
            .create(record_name::material(&self.record.name), self.sealed.clone()))
    }
}

/// The number after the next one.
pub(crate) fn after(key: &CryptoKey) -> Result<VersionNumber, KmsError> {
    key.next_version.next().ok_or_else(|| {
        KmsError::new(
            ErrorClass::FailedPrecondition,
            format!("CryptoKey {} has no version number left.", key.name),
        )
    })
}
