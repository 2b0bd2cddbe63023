use std::collections::HashMap;

use keystead_model::{CryptoKey, CryptoKeyName, KeyUid};
use keystead_store::{Batch, Store};

use crate::records::{decode, record_name};
use crate::root::{VersionEvent, VersionEventKind, VersionId};
use crate::{KmsError, records};

/// The versions that a batch makes and destroys: their material is written or deleted. Read from the batch, so that no
/// operation can forget it.
pub(super) async fn version_events(store: &dyn Store, batch: &Batch) -> Result<Vec<VersionEvent>, KmsError> {
    let mut events = Vec::new();
    let mut uids: HashMap<CryptoKeyName, KeyUid> = HashMap::new();
    for write in &batch.writes {
        let Some(name) = record_name::version_of_material(&write.name) else { continue };
        let uid = match uids.get(&name.key) {
            Some(uid) => *uid,
            None => {
                let uid = uid_in(store, batch, &name.key).await?;
                uids.insert(name.key.clone(), uid);
                uid
            }
        };
        let kind = match write.value {
            Some(_) => VersionEventKind::Made,
            None => VersionEventKind::Destroyed,
        };
        events.push(VersionEvent { kind, id: VersionId { uid, number: name.version }, name });
    }
    Ok(events)
}

pub(super) async fn uid_in(
    store: &dyn Store,
    batch: &Batch,
    key: &CryptoKeyName,
) -> Result<KeyUid, KmsError> {
    let record = record_name::key(key);
    let written = batch.writes.iter().find(|write| write.name == record);
    if let Some(bytes) = written.and_then(|write| write.value.as_ref()) {
        return Ok(decode::<CryptoKey>(&record, bytes)?.uid);
    }
    let stored = records::read::<CryptoKey>(store, &record).await?;
    Ok(stored.ok_or_else(|| KmsError::not_found("CryptoKey", key))?.value.uid)
}
