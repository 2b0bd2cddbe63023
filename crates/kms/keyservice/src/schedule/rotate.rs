use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::rotation::{Act as Change, plan};
use keystead_model::{CryptoKey, CryptoKeyName};
use keystead_store::Batch;

use crate::operations::after;
use crate::service::encode;
use crate::{Act, KmsError, Method, MethodKind, Operation, Resource, record_name};

/// Rotates a key whose time has come. Answers whether it did.
pub(super) struct RotateDueKey {
    pub(super) key: CryptoKeyName,
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

    async fn perform(act: &mut Act<'_, Self>) -> Result<bool, KmsError> {
        let service = act.service();
        let name = act.command().key.clone();
        let stored = service.read_key(&name).await?;
        let active = service.active_key(&name).await?;
        let newest = active.versions.values().next_back().map(|version| version.record.create_time);
        let mut key = stored.value;
        let mut batch = Batch::default();
        let mut rotated = false;
        let steps = plan(act.now(), &key, newest);
        if steps.is_empty() {
            act.outcome().unrecorded = true;
            return Ok(false);
        }
        for step in steps {
            act.outcome().response = SafeFields::new().with("reason", step.reason);
            match step.act {
                Change::Rotate { version, next } => {
                    let new = service.new_version(&key, version, act.now()).await?;
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
                Change::Reschedule { next } => key.next_rotation_time = Some(next),
            }
        }
        batch = batch.replace(record_name::key(&name), stored.revision, encode(&key)?);
        act.commit(batch).await?;
        Ok(rotated)
    }
}
