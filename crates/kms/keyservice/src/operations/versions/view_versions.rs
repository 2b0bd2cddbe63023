use keystead_iam::Permission;
use keystead_model::listing::Page;
use keystead_model::{CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName};

use crate::operations::list::ListOptions;
use crate::records::record_name;
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Reads a key version.
pub struct GetCryptoKeyVersion {
    /// Its name.
    pub name: CryptoKeyVersionName,
}

/// Lists the versions of a key.
pub struct ListCryptoKeyVersions {
    /// The key.
    pub parent: CryptoKeyName,
    /// Page, filter and order.
    pub options: ListOptions,
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

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<CryptoKeyVersion, KmsError> {
        let name = &authorised.command().name;
        Ok(authorised.service().read_version(&name.key, name.version).await?.value)
    }
}

impl Operation for ListCryptoKeyVersions {
    type Output = Page<CryptoKeyVersion>;

    fn method(&self) -> Method {
        Method::kms("ListCryptoKeyVersions", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsList)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.parent.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Page<CryptoKeyVersion>, KmsError> {
        let Self { parent, options } = authorised.command();
        authorised.service().read_key(parent).await?;
        let listing = options.parse(&parent.to_string())?;
        authorised.service().list(&listing, &record_name::versions(parent)).await
    }
}
