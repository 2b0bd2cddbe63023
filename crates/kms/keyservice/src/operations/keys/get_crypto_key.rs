use keystead_iam::Permission;
use keystead_model::listing::ListedKey;
use keystead_model::{CryptoKey, CryptoKeyName};

use crate::{Act, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Reads a key.
pub struct GetCryptoKey {
    /// Its name.
    pub name: CryptoKeyName,
}

/// A key and a full copy of its primary, as every answer about a key has them.
pub type KeyAndPrimary = ListedKey;

impl Operation for GetCryptoKey {
    type Output = KeyAndPrimary;

    fn method(&self) -> Method {
        Method::kms("GetCryptoKey", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysGet)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.name.clone())
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<KeyAndPrimary, KmsError> {
        act.service().key_and_primary(&act.command().name).await
    }
}

impl KeyService {
    pub(super) async fn key_and_primary(&self, name: &CryptoKeyName) -> Result<KeyAndPrimary, KmsError> {
        let key = self.key(name).await?;
        let primary = match key.primary {
            Some(number) => self.version(&key, number).await?.map(|version| version.record.clone()),
            None => None,
        };
        Ok(KeyAndPrimary { key: CryptoKey::clone(&key), primary })
    }
}
