//! From requests to commands: keys and rings.

use keystead_keyservice::KmsError;
use keystead_keyservice::operations::{
    CreateCryptoKey, CreateKeyRing, UpdateCryptoKey, UpdateCryptoKeyPrimaryVersion,
};
use keystead_model::field_mask::{CRYPTO_KEY, FieldMask};
use keystead_model::{CryptoKeyName, KeyRingName};
use keystead_proto::cloud_kms::crypto_key::RotationSchedule;
use keystead_proto::cloud_kms::{
    CreateCryptoKeyRequest, CreateKeyRingRequest, CryptoKey, UpdateCryptoKeyPrimaryVersionRequest,
    UpdateCryptoKeyRequest,
};

use super::supported;
use crate::grpc::time;

pub(super) fn create_ring(request: &CreateKeyRingRequest) -> Result<CreateKeyRing, KmsError> {
    let name = KeyRingName { location: request.parent.parse()?, ring: request.key_ring_id.parse()? };
    Ok(CreateKeyRing { name })
}

pub(super) fn create(request: CreateCryptoKeyRequest) -> Result<CreateCryptoKey, KmsError> {
    let name = CryptoKeyName { ring: request.parent.parse()?, key: request.crypto_key_id.parse()? };
    supported::check_new_key(&request)?;
    let key = request.crypto_key.unwrap_or_default();
    let destroy = key.destroy_scheduled_duration;
    let destroy = destroy.map(|it| time::whole_seconds("crypto_key.destroy_scheduled_duration", it));
    Ok(CreateCryptoKey {
        name,
        rotation_period_s: rotation_period(&key)?,
        next_rotation_time: next_rotation(&key)?,
        destroy_scheduled_duration_s: destroy.transpose()?,
        labels: key.labels.into_iter().collect(),
        skip_initial_version: request.skip_initial_version_creation,
    })
}

/// What the mask does not name is not looked at; what it names and the key does not have is cleared.
pub(super) fn update(request: UpdateCryptoKeyRequest) -> Result<UpdateCryptoKey, KmsError> {
    let key = request.crypto_key.unwrap_or_default();
    let name = key.name.parse()?;
    let mask = request.update_mask.unwrap_or_default();
    let mask = FieldMask::from_paths(mask.paths.iter().map(String::as_str), CRYPTO_KEY)
        .map_err(|error| supported::invalid("update_mask", error.to_string()))?;
    let (algorithm, level) =
        (mask.contains("versionTemplate.algorithm"), mask.contains("versionTemplate.protectionLevel"));
    supported::check_template(key.version_template.as_ref(), algorithm, level)?;
    let period = mask.contains("rotationPeriod").then(|| rotation_period(&key)).transpose()?;
    let next = mask.contains("nextRotationTime").then(|| next_rotation(&key)).transpose()?;
    Ok(UpdateCryptoKey {
        name,
        rotation_period_s: period,
        next_rotation_time: next,
        labels: mask.contains("labels").then(|| key.labels.into_iter().collect()),
    })
}

fn rotation_period(key: &CryptoKey) -> Result<Option<i64>, KmsError> {
    let period = key.rotation_schedule.map(|RotationSchedule::RotationPeriod(period)| period);
    period.map(|period| time::whole_seconds("crypto_key.rotation_period", period)).transpose()
}

fn next_rotation(key: &CryptoKey) -> Result<Option<jiff::Timestamp>, KmsError> {
    key.next_rotation_time.map(|next| time::from_proto("crypto_key.next_rotation_time", next)).transpose()
}

pub(super) fn update_primary(
    request: &UpdateCryptoKeyPrimaryVersionRequest,
) -> Result<UpdateCryptoKeyPrimaryVersion, KmsError> {
    let version = request.crypto_key_version_id.parse();
    let version = version.map_err(|error: keystead_model::InvalidName| {
        supported::invalid("crypto_key_version_id", error.to_string())
    })?;
    Ok(UpdateCryptoKeyPrimaryVersion { key: request.name.parse()?, version })
}
