use std::collections::BTreeMap;

use jiff::Timestamp;
use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::key_settings::check_labels;
use keystead_model::{CryptoKey, CryptoKeyName, rotation, to_microseconds};
use keystead_store::Batch;

use super::KeyAndPrimary;
use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Changes a key. What is `None` stays; what is `Some(None)` is cleared.
pub struct UpdateCryptoKey {
    /// The key.
    pub name: CryptoKeyName,
    /// All labels anew.
    pub labels: Option<BTreeMap<String, String>>,
    /// Seconds between two rotations.
    pub rotation_period_s: Option<Option<i64>>,
    /// The next rotation.
    pub next_rotation_time: Option<Option<Timestamp>>,
}

impl Operation for UpdateCryptoKey {
    type Output = KeyAndPrimary;

    fn method(&self) -> Method {
        Method::kms("UpdateCryptoKey", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysUpdate)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.name.clone())
    }

    fn describe(&self) -> SafeFields {
        let fields = [
            ("labels", self.labels.is_some()),
            ("rotationPeriod", self.rotation_period_s.is_some()),
            ("nextRotationTime", self.next_rotation_time.is_some()),
        ];
        let mask: Vec<&str> = fields.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        SafeFields::new().with("updateMask", mask.join(","))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<KeyAndPrimary, KmsError> {
        let name = authorised.command().name.clone();
        let stored = authorised.service().read_key(&name).await?;
        let key = changed(authorised.command(), stored.value, authorised.now())?;
        let batch = Batch::default().replace(record_name::key(&name), stored.revision, encode(&key)?);
        authorised.commit(batch).await?;
        let primary = match key.primary {
            Some(number) => Some(authorised.service().read_version(&name, number).await?.value),
            None => None,
        };
        Ok(KeyAndPrimary { key, primary })
    }
}

fn changed(command: &UpdateCryptoKey, mut key: CryptoKey, now: Timestamp) -> Result<CryptoKey, KmsError> {
    if let Some(labels) = &command.labels {
        check_labels(labels)?;
        key.labels.clone_from(labels);
    }
    if let Some(period_s) = command.rotation_period_s {
        key.rotation_period_s = period_s;
    }
    if let Some(next) = command.next_rotation_time {
        key.next_rotation_time = next.map(to_microseconds);
    }
    if command.rotation_period_s.is_some() || command.next_rotation_time.is_some() {
        rotation::check_schedule(now, key.rotation_period_s, key.next_rotation_time)?;
    }
    Ok(key)
}
