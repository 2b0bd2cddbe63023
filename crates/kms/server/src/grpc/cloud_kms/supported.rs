//! What a key may be here. Everything else that Cloud KMS knows is refused with a sentence, never made into something
//! weaker.

use keystead_keyservice::{Detail, KmsError};
use keystead_model::ErrorClass;
use keystead_proto::cloud_kms::crypto_key::CryptoKeyPurpose;
use keystead_proto::cloud_kms::crypto_key_version::CryptoKeyVersionAlgorithm;
use keystead_proto::cloud_kms::{CreateCryptoKeyRequest, CryptoKeyVersionTemplate, ProtectionLevel};

/// The options of a new key.
pub(super) fn check_new_key(request: &CreateCryptoKeyRequest) -> Result<(), KmsError> {
    let key = request.crypto_key.clone().unwrap_or_default();
    check_purpose(key.purpose)?;
    if let Some(template) = &key.version_template {
        check_protection_level("crypto_key.version_template.protection_level", template.protection_level)?;
        check_algorithm(template.algorithm, true)?;
    }
    let given = [
        ("import_only", key.import_only),
        ("crypto_key_backend", !key.crypto_key_backend.is_empty()),
        ("key_access_justifications_policy", key.key_access_justifications_policy.is_some()),
        ("trusted_wrapping_enabled", request.trusted_wrapping_enabled),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(unserved(field, format!("The option {field} is not served by Keystead."))),
        None => Ok(()),
    }
}

/// The template of an update that names it: what is left out is not what it was.
pub(super) fn check_template(
    template: Option<&CryptoKeyVersionTemplate>,
    algorithm: bool,
    level: bool,
) -> Result<(), KmsError> {
    let template = template.copied().unwrap_or_default();
    if level {
        check_protection_level("crypto_key.version_template.protection_level", template.protection_level)?;
    }
    if algorithm { check_algorithm(template.algorithm, false) } else { Ok(()) }
}

fn check_purpose(purpose: i32) -> Result<(), KmsError> {
    let field = "crypto_key.purpose";
    match CryptoKeyPurpose::try_from(purpose) {
        Ok(CryptoKeyPurpose::EncryptDecrypt) => Ok(()),
        Ok(CryptoKeyPurpose::Unspecified) => Err(invalid(
            field,
            "A purpose is required: ENCRYPT_DECRYPT is the one that Keystead serves.".into(),
        )),
        Ok(other) => Err(unserved(
            field,
            format!(
                "The purpose {} is not served by Keystead: it serves symmetric keys, ENCRYPT_DECRYPT.",
                other.as_str_name()
            ),
        )),
        Err(_) => Err(invalid(field, format!("There is no purpose {purpose}."))),
    }
}

pub(super) fn check_protection_level(field: &str, level: i32) -> Result<(), KmsError> {
    match ProtectionLevel::try_from(level) {
        Ok(ProtectionLevel::Software | ProtectionLevel::Unspecified) => Ok(()),
        Ok(other) => Err(unserved(
            field,
            format!(
                "The protection level {} is not available: no hardware security module is configured in this server. Keys of \
                 level SOFTWARE can be made.",
                other.as_str_name()
            ),
        )),
        Err(_) => Err(invalid(field, format!("There is no protection level {level}."))),
    }
}

fn check_algorithm(algorithm: i32, may_be_absent: bool) -> Result<(), KmsError> {
    let field = "crypto_key.version_template.algorithm";
    match CryptoKeyVersionAlgorithm::try_from(algorithm) {
        Ok(CryptoKeyVersionAlgorithm::GoogleSymmetricEncryption) => Ok(()),
        Ok(CryptoKeyVersionAlgorithm::Unspecified) if may_be_absent => Ok(()),
        Ok(other) => Err(invalid(
            field,
            format!(
                "The algorithm {} does not fit the purpose ENCRYPT_DECRYPT: GOOGLE_SYMMETRIC_ENCRYPTION does.",
                other.as_str_name()
            ),
        )),
        Err(_) => Err(invalid(field, format!("There is no algorithm {algorithm}."))),
    }
}

pub(super) fn invalid(field: &str, text: String) -> KmsError {
    KmsError::invalid(text.clone()).with(Detail::BadRequest { field: field.to_owned(), description: text })
}

pub(super) fn unserved(field: &str, text: String) -> KmsError {
    let detail = Detail::BadRequest { field: field.to_owned(), description: text.clone() };
    KmsError::new(ErrorClass::Unimplemented, text).with(detail)
}
