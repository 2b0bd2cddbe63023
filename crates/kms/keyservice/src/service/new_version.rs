//! A key version on its way into the store.

use jiff::Timestamp;
use keystead_model::{CryptoKey, CryptoKeyVersion, CryptoKeyVersionName, VersionNumber};
use keystead_store::Batch;

use crate::records::{encode, record_name};
use crate::{KeyService, KmsError};

/// A version whose material is made and sealed, and not committed yet.
pub(crate) struct NewVersion {
    pub(crate) record: CryptoKeyVersion,
    sealed: Vec<u8>,
}

impl KeyService {
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
