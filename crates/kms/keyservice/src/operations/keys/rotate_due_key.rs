use std::num::NonZeroU32;

use jiff::Timestamp;
use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::rotation::{Act, plan};
use keystead_model::{CryptoKey, CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName, VersionNumber};
use keystead_store::Batch;

use crate::records::{encode, record_name};
use crate::service::after;
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Rotates a key whose time has come. Answers whether it did.
pub(crate) struct RotateDueKey {
    pub(crate) key: CryptoKeyName,
}

impl Operation for RotateDueKey {
    type Output = bool;

    fn method(&self) -> Method {
        Method::kms("RotateCryptoKey", MethodKind::System)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.key.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<bool, KmsError> {
        let service = authorised.service();
        let name = authorised.command().key.clone();
        let stored = service.read_key(&name).await?;
        let newest = service.newest_version_time(&stored.value).await?;
        let mut key = stored.value;
        let mut batch = Batch::default();
        let mut rotated = false;
        let steps = plan(authorised.now(), &key, newest);
        if steps.is_empty() {
            authorised.outcome().unrecorded = true;
            return Ok(false);
        }
        for step in steps {
            authorised.outcome().response = SafeFields::new().with("reason", step.reason);
            match step.act {
                Act::Rotate { version, next } => {
                    let new = service.new_version(&key, version, authorised.now()).await?;
                    batch = new.add_to(batch)?;
                    key = CryptoKey {
                        next_version: after(&key)?,
                        primary: Some(version),
                        activations: key.activations.saturating_add(1),
                        next_rotation_time: next,
                        ..key
                    };
                    rotated = true;
                }
                Act::Reschedule { next } => key.next_rotation_time = Some(next),
            }
        }
        batch = batch.replace(record_name::key(&name), stored.revision, encode(&key)?);
        authorised.commit(batch).await?;
        Ok(rotated)
    }
}

impl KeyService {
    /// When the newest version was made that is still recorded.
    async fn newest_version_time(&self, key: &CryptoKey) -> Result<Option<Timestamp>, KmsError> {
        let newest = key.next_version.get().checked_sub(1).and_then(NonZeroU32::new).map(VersionNumber);
        let Some(newest) = newest else { return Ok(None) };
        let name = CryptoKeyVersionName { key: key.name.clone(), version: newest };
        let stored = self.read::<CryptoKeyVersion>(&record_name::version(&name)).await?;
        Ok(stored.map(|stored| stored.value.create_time))
    }
}
