use keystead_audit::SafeFields;
use keystead_crypto::{KmsCiphertext, SecretBytes};
use keystead_iam::Permission;
use keystead_model::{CryptoKeyName, CryptoKeyVersionName, ErrorClass, VersionNumber};

use crate::records::usage::UseKind;
use crate::{Authorised, Detail, KmsError, Method, MethodKind, Operation, Resource};

/// Longest plaintext and longest additional authenticated data of a software key, in bytes: `EncryptRequest`.
pub const MAX_TEXT_LEN: usize = 64 * 1024;

/// Encrypts with the primary of a key, or with a version that is named.
pub struct Encrypt {
    /// The key.
    pub key: CryptoKeyName,
    /// The version; none: the primary.
    pub version: Option<VersionNumber>,
    /// At most 65,536 bytes.
    pub plaintext: SecretBytes,
    /// At most 65,536 bytes.
    pub caller_data: Vec<u8>,
}

/// What Encrypt answers.
pub struct Encrypted {
    /// The version that encrypted.
    pub version: CryptoKeyVersionName,
    /// 85 bytes longer than the plaintext.
    pub ciphertext: Vec<u8>,
    /// How often a primary of this key has been chosen: a plugin sees with it that an earlier version came back.
    pub activation: u32,
}

impl Operation for Encrypt {
    type Output = Encrypted;

    fn method(&self) -> Method {
        Method::kms("Encrypt", MethodKind::DataAccess)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsUseToEncrypt)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.key.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Encrypted, KmsError> {
        let service = authorised.service();
        let key = service.key(&authorised.command().key).await?;
        let command = authorised.command();
        check_len("plaintext", command.plaintext.expose().len())?;
        check_len("additional_authenticated_data", command.caller_data.len())?;
        let number = command.version.or(key.primary).ok_or_else(|| no_primary(&key.name))?;
        let version = service.version(&key, number).await?.ok_or_else(|| {
            KmsError::not_found("CryptoKeyVersion", format!("{}/cryptoKeyVersions/{number}", key.name))
        })?;
        let binding = version.binding(key.uid, &command.caller_data);
        let material = version.usable()?;
        let sealed =
            KmsCiphertext::seal(material, &binding, command.plaintext.expose(), service.random.as_ref());
        let ciphertext = sealed.map_err(|_| KmsError::new(ErrorClass::Bug, "encryption failed"))?;
        let name = version.record.name.clone();
        service.note_use(&name, UseKind::Encrypt, authorised.now()).await?;
        authorised.outcome().response = SafeFields::new().with("name", version.name.as_str());
        Ok(Encrypted { version: name, ciphertext, activation: key.activations })
    }
}

pub(super) fn check_len(field: &str, len: usize) -> Result<(), KmsError> {
    if len <= MAX_TEXT_LEN {
        return Ok(());
    }
    let text = format!("The field {field} is {len} bytes long; at most {MAX_TEXT_LEN} bytes are allowed.");
    Err(KmsError::invalid(text.clone())
        .with(Detail::BadRequest { field: field.to_owned(), description: text }))
}

fn no_primary(key: &CryptoKeyName) -> KmsError {
    let text = format!(
        "CryptoKey {key} has no primary version: create a version and make it the primary with updatePrimaryVersion."
    );
    KmsError::new(ErrorClass::FailedPrecondition, text)
}
