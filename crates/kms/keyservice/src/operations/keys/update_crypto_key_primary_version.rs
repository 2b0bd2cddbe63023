use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::{CryptoKey, CryptoKeyName, VersionNumber};
use keystead_store::Batch;

use super::KeyAndPrimary;
use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Makes a version the one that encrypts, also one that is not enabled, as Cloud KMS does.
pub struct UpdateCryptoKeyPrimaryVersion {
    /// The key.
    pub key: CryptoKeyName,
    /// The version.
    pub version: VersionNumber,
}

impl Operation for UpdateCryptoKeyPrimaryVersion {
    type Output = KeyAndPrimary;

    fn method(&self) -> Method {
        Method::kms("UpdateCryptoKeyPrimaryVersion", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysUpdate)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.key.clone())
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with("cryptoKeyVersionId", self.version.to_string())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<KeyAndPrimary, KmsError> {
        let (name, number) = (authorised.command().key.clone(), authorised.command().version);
        let stored = authorised.service().read_key(&name).await?;
        let version = authorised.service().read_version(&name, number).await?.value;
        let mut key = stored.value;
        // Choosing what is chosen already is no activation: a plugin would take it for a rotation.
        if key.primary != Some(number) {
            key = CryptoKey { primary: Some(number), activations: key.activations.saturating_add(1), ..key };
        }
        let batch = Batch::default().replace(record_name::key(&name), stored.revision, encode(&key)?);
        authorised.commit(batch).await?;
        Ok(KeyAndPrimary { key, primary: Some(version) })
    }
}
