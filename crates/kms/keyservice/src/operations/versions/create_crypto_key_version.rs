use keystead_iam::Permission;
use keystead_model::{CryptoKey, CryptoKeyName, CryptoKeyVersion};
use keystead_store::Batch;

use crate::records::{encode, record_name};
use crate::service::after;
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Makes the next version of a key. It does not become the primary by this.
pub struct CreateCryptoKeyVersion {
    /// The key.
    pub key: CryptoKeyName,
}

impl Operation for CreateCryptoKeyVersion {
    type Output = CryptoKeyVersion;

    fn method(&self) -> Method {
        Method::kms("CreateCryptoKeyVersion", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsCreate)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.key.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<CryptoKeyVersion, KmsError> {
        let name = authorised.command().key.clone();
        let stored = authorised.service().read_key(&name).await?;
        let number = stored.value.next_version;
        let key = CryptoKey { next_version: after(&stored.value)?, ..stored.value };
        let new = authorised.service().new_version(&key, number, authorised.now()).await?;
        let batch =
            new.add_to(Batch::default())?.replace(record_name::key(&name), stored.revision, encode(&key)?);
        authorised.outcome().resource = Some(new.record.name.to_string().into());
        authorised.commit(batch).await?;
        Ok(new.record)
    }
}
