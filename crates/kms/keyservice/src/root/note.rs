//! What the witness notes of a commit.

use std::collections::HashMap;

use keystead_model::{CryptoKey, CryptoKeyName, KeyUid};
use keystead_store::{Batch, Revision};

use super::{Point, VersionEvent, VersionEventKind, VersionId};
use crate::service::decode;
use crate::{KeyService, KmsError, record_name};

impl KeyService {
    /// The point that a commit has brought.
    pub(crate) fn point(&self, revision: Revision) -> Point {
        let head = self.audit.head();
        Point { counter: revision.0, audit_sequence: head.sequence, audit_hash: head.hash }
    }

    /// The versions that a batch makes and destroys: their material is written or deleted. Read from the batch, so that no
    /// operation can forget it.
    pub(crate) async fn version_events(&self, batch: &Batch) -> Result<Vec<VersionEvent>, KmsError> {
        let mut events = Vec::new();
        let mut uids: HashMap<CryptoKeyName, KeyUid> = HashMap::new();
        for write in &batch.writes {
            let Some(name) = record_name::version_of_material(&write.name) else { continue };
            let uid = match uids.get(&name.key) {
                Some(uid) => *uid,
                None => {
                    let uid = self.uid_in(batch, &name.key).await?;
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

    async fn uid_in(&self, batch: &Batch, key: &CryptoKeyName) -> Result<KeyUid, KmsError> {
        let record = record_name::key(key);
        let written = batch.writes.iter().find(|write| write.name == record);
        match written.and_then(|write| write.value.as_ref()) {
            Some(bytes) => Ok(decode::<CryptoKey>(&record, bytes)?.uid),
            None => Ok(self.read_key(key).await?.value.uid),
        }
    }
}
