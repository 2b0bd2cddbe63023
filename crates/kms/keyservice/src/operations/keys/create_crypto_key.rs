use std::collections::BTreeMap;

use jiff::Timestamp;
use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::key_settings::{check_destroy_scheduled, check_labels};
use keystead_model::{
    CryptoKey, CryptoKeyName, ErrorClass, KeyRing, KeyUid, VersionNumber, rotation, to_microseconds,
};
use keystead_store::Batch;

use super::KeyAndPrimary;
use crate::records::{encode, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Makes a key, with its first version as primary unless that is skipped.
pub struct CreateCryptoKey {
    /// Its name.
    pub name: CryptoKeyName,
    /// Labels, as the caller chose them.
    pub labels: BTreeMap<String, String>,
    /// Seconds between two rotations.
    pub rotation_period_s: Option<i64>,
    /// The first rotation.
    pub next_rotation_time: Option<Timestamp>,
    /// Seconds between scheduling a destruction and doing it; none: 30 days.
    pub destroy_scheduled_duration_s: Option<i64>,
    /// Makes the key without a version.
    pub skip_initial_version: bool,
}

impl Operation for CreateCryptoKey {
    type Output = KeyAndPrimary;

    fn method(&self) -> Method {
        Method::kms("CreateCryptoKey", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysCreate)
    }

    fn target(&self) -> Resource {
        Resource::KeyRing(self.name.ring.clone())
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new()
            .with("cryptoKeyId", self.name.key.as_str())
            .with("skipInitialVersionCreation", self.skip_initial_version)
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<KeyAndPrimary, KmsError> {
        let service = authorised.service();
        let key = service.planned_key(authorised.command(), authorised.now())?;
        let name = key.name.clone();
        let ring = record_name::ring(&name.ring);
        service.read::<KeyRing>(&ring).await?.ok_or_else(|| KmsError::not_found("KeyRing", &name.ring))?;
        let mut batch = with_key(Batch::default(), &key)?;
        let mut primary = None;
        if let Some(first) = key.primary {
            let new = service.new_version(&key, first, authorised.now()).await?;
            batch = new.add_to(batch)?;
            primary = Some(new.record);
        }
        authorised.outcome().resource = Some(name.to_string().into());
        match authorised.commit(batch).await {
            Ok(_) => Ok(KeyAndPrimary { key, primary }),
            Err(error) if error.class() == ErrorClass::AlreadyExists => {
                Err(KmsError::already_exists("CryptoKey", name))
            }
            Err(error) => Err(error),
        }
    }
}

/// Adds the records of a new key.
pub(crate) fn with_key(batch: Batch, key: &CryptoKey) -> Result<Batch, KmsError> {
    Ok(batch
        .create(record_name::key(&key.name), encode(key)?)
        // Stays when the key is deleted: the name is never used for another.
        .create(record_name::key_name(&key.name), encode(&key.uid)?))
}

impl KeyService {
    /// The key as it will be, or why it cannot be.
    pub(crate) fn planned_key(
        &self,
        command: &CreateCryptoKey,
        now: Timestamp,
    ) -> Result<CryptoKey, KmsError> {
        check_labels(&command.labels)?;
        rotation::check_schedule(now, command.rotation_period_s, command.next_rotation_time)?;
        let destroy_scheduled_duration_s = check_destroy_scheduled(command.destroy_scheduled_duration_s)?;
        let uid = KeyUid(self.random_bytes()?);
        let first = (!command.skip_initial_version).then_some(VersionNumber::FIRST);
        let next_version = match first {
            Some(first) => first.next().unwrap_or(first),
            None => VersionNumber::FIRST,
        };
        Ok(CryptoKey {
            name: command.name.clone(),
            uid,
            create_time: to_microseconds(now),
            primary: first,
            activations: u32::from(first.is_some()),
            next_version,
            rotation_period_s: command.rotation_period_s,
            next_rotation_time: command.next_rotation_time.map(to_microseconds),
            destroy_scheduled_duration_s,
            labels: command.labels.clone(),
        })
    }
}
