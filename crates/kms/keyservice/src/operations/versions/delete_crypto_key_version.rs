use keystead_iam::Permission;
use keystead_model::{CryptoKeyVersionName, ErrorClass, VersionState};
use keystead_store::Batch;

use crate::records::record_name;
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Deletes the record of a destroyed version. Its number is never used again.
pub struct DeleteCryptoKeyVersion {
    /// The version.
    pub name: CryptoKeyVersionName,
}

impl Operation for DeleteCryptoKeyVersion {
    type Output = ();

    fn method(&self) -> Method {
        Method::kms("DeleteCryptoKeyVersion", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsDelete)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKeyVersion(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let name = authorised.command().name.clone();
        let stored = authorised.service().read_version(&name.key, name.version).await?;
        if stored.value.state != VersionState::Destroyed {
            return Err(KmsError::new(
                ErrorClass::FailedPrecondition,
                format!(
                    "{name} cannot be deleted, current state is: {}. Only a DESTROYED version can be deleted.",
                    stored.value.state.as_str()
                ),
            ));
        }
        let batch = Batch::default().delete(record_name::version(&name), stored.revision);
        authorised.commit(batch).await?;
        Ok(())
    }
}
