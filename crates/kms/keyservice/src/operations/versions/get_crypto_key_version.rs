use keystead_iam::Permission;
use keystead_model::{CryptoKeyVersion, CryptoKeyVersionName};

use crate::{Act, KmsError, Method, MethodKind, Operation, Resource};

/// Reads a key version.
pub struct GetCryptoKeyVersion {
    /// Its name.
    pub name: CryptoKeyVersionName,
}

impl Operation for GetCryptoKeyVersion {
    type Output = CryptoKeyVersion;

    fn method(&self) -> Method {
        Method::kms("GetCryptoKeyVersion", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsGet)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKeyVersion(self.name.clone())
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<CryptoKeyVersion, KmsError> {
        let name = &act.command().name;
        Ok(act.service().read_version(&name.key, name.version).await?.value)
    }
}
