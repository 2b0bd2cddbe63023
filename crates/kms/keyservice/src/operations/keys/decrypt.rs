use keystead_audit::SafeFields;
use keystead_crypto::{KmsCiphertext, SecretBytes};
use keystead_iam::Permission;
use keystead_model::{CryptoKeyName, VersionNumber};

use super::encrypt::check_len;
use crate::records::usage::UseKind;
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Decrypts with the version that the ciphertext names.
pub struct Decrypt {
    /// The key.
    pub key: CryptoKeyName,
    /// What Encrypt answered, or anything else: it is hostile until it opens.
    pub ciphertext: Vec<u8>,
    /// What Encrypt was given; at most 65,536 bytes.
    pub caller_data: Vec<u8>,
    /// The caller knows the plaintext and asks only whether it may still be opened: this is no use of the version, because a
    /// plugin asks every five minutes for what it holds.
    pub recheck: bool,
}

/// What Decrypt answers.
pub struct Decrypted {
    /// For the caller's eyes.
    pub plaintext: SecretBytes,
    /// Whether the primary would have encrypted it now.
    pub used_primary: bool,
}

impl Operation for Decrypt {
    type Output = Decrypted;

    fn method(&self) -> Method {
        Method::kms("Decrypt", MethodKind::DataAccess)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsUseToDecrypt)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.key.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Decrypted, KmsError> {
        let service = authorised.service();
        let key = service.key(&authorised.command().key).await?;
        let command = authorised.command();
        check_len("additional_authenticated_data", command.caller_data.len())?;
        let parsed = KmsCiphertext::parse(&command.ciphertext).ok_or_else(damaged)?;
        if parsed.uid != key.uid.0 {
            return Err(KmsError::invalid(
                "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
            ));
        }
        // The number is a claim too: one that was never given out is a damaged ciphertext, not a missing resource.
        let number = std::num::NonZeroU32::new(parsed.version).map(VersionNumber).ok_or_else(damaged)?;
        let version = service.version(&key, number).await?.ok_or_else(damaged)?;
        let binding = version.binding(key.uid, &command.caller_data);
        let plaintext = parsed.open(version.usable()?, &binding).map_err(|_| damaged())?;
        if !authorised.command().recheck {
            service.note_use(&version.record.name, UseKind::Decrypt, authorised.now()).await?;
        }
        let used_primary = key.primary == Some(number);
        authorised.outcome().response = SafeFields::new().with("name", version.name.as_str());
        Ok(Decrypted { plaintext, used_primary })
    }
}

fn damaged() -> KmsError {
    KmsError::invalid(
        "Decryption failed: the ciphertext is invalid. Check that 'ciphertext' is what Encrypt answered and that \
         'additional_authenticated_data' is what Encrypt was given.",
    )
}
