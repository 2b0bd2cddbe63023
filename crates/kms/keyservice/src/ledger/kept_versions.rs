//! What the backup destinations get of a commit.

use keystead_model::{CryptoKey, CryptoKeyVersion, CryptoKeyVersionName};
use keystead_store::{Batch, Store};

use super::{Destinations, KeptVersion};
use crate::records::{decode, record_name};
use crate::root::{VersionEvent, VersionEventKind};
use crate::{KmsError, records};

impl Destinations {
    /// The versions that a batch makes, as the destinations keep them. Read from the batch, so that no operation can
    /// forget it.
    pub(crate) async fn kept_versions(
        &self,
        store: &dyn Store,
        batch: &Batch,
        events: &[VersionEvent],
    ) -> Result<Vec<KeptVersion>, KmsError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let written = |record: &str| {
            let write = batch.writes.iter().find(|write| write.name == record);
            write.and_then(|write| write.value.as_deref())
        };
        let mut kept = Vec::new();
        for event in events.iter().filter(|event| event.kind == VersionEventKind::Made) {
            let records = (record_name::version(&event.name), record_name::material(&event.name));
            let (Some(version), Some(material)) = (written(&records.0), written(&records.1)) else {
                continue;
            };
            let key_record = record_name::key(&event.name.key);
            let key: CryptoKey = match written(&key_record) {
                Some(bytes) => decode(&key_record, bytes)?,
                None => {
                    let stored = records::read::<CryptoKey>(store, &key_record).await?;
                    stored.ok_or_else(|| KmsError::not_found("CryptoKey", &event.name.key))?.value
                }
            };
            kept.push(KeptVersion {
                key,
                version: decode(&records.0, version)?,
                material: hex::encode(material),
            });
        }
        Ok(kept)
    }
}

/// The versions whose records a batch writes: each destination is told what has become of them.
pub(crate) fn written_versions(batch: &Batch) -> Result<Vec<CryptoKeyVersionName>, KmsError> {
    let records = batch.writes.iter().filter(|write| write.name.starts_with(record_name::ALL_VERSIONS));
    let written = records.filter_map(|write| Some((&write.name, write.value.as_ref()?)));
    written.map(|(name, value)| Ok(decode::<CryptoKeyVersion>(name, value)?.name)).collect()
}
