use keystead_iam::Permission;
use keystead_model::listing::{ListedKey, Page};
use keystead_model::{CryptoKey, CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName, KeyRingName};

use crate::operations::list::{ListOptions, closed};
use crate::records::record_name;
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Reads a key.
pub struct GetCryptoKey {
    /// Its name.
    pub name: CryptoKeyName,
}

/// Lists the keys of a ring.
pub struct ListCryptoKeys {
    /// The ring.
    pub parent: KeyRingName,
    /// Page, filter and order.
    pub options: ListOptions,
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

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<KeyAndPrimary, KmsError> {
        authorised.service().key_and_primary(&authorised.command().name).await
    }
}

impl Operation for ListCryptoKeys {
    type Output = Page<KeyAndPrimary>;

    fn method(&self) -> Method {
        Method::kms("ListCryptoKeys", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysList)
    }

    fn target(&self) -> Resource {
        Resource::KeyRing(self.parent.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Page<KeyAndPrimary>, KmsError> {
        let Self { parent, options } = authorised.command();
        let service = authorised.service();
        service.require_ring(parent).await?;
        let listing = options.parse(&parent.to_string())?;
        if listing.is_plain() {
            let prefix = record_name::keys(parent);
            let mut items = Vec::new();
            for key in service.read_page::<_, CryptoKey>(&listing, &prefix).await? {
                let primary = service.primary(&key).await?;
                items.push(KeyAndPrimary { key, primary });
            }
            return Ok(listing.plain_page(items, service.total(&prefix).await?));
        }
        let _place = service.scans.acquire().await.map_err(|_| closed())?;
        // Of most keys nothing is shown, and so their primaries are read only for a filter that asks for them.
        let by_primary = listing.filters_by("primary.");
        let (mut sieve, mut after) = (listing.sieve(), String::new());
        loop {
            let (keys, last) = service.read_some(&record_name::keys(parent), &after).await?;
            for key in keys {
                let primary = if by_primary { service.primary(&key).await? } else { None };
                sieve.add(KeyAndPrimary { key, primary });
            }
            let Some(last) = last else { break };
            after = last;
        }
        let mut page = sieve.page();
        if !by_primary {
            for item in &mut page.items {
                item.primary = service.primary(&item.key).await?;
            }
        }
        Ok(page)
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

    /// The primary of a key that was read from a list. Key and version may have been deleted since.
    pub(super) async fn primary(&self, key: &CryptoKey) -> Result<Option<CryptoKeyVersion>, KmsError> {
        let Some(number) = key.primary else { return Ok(None) };
        let name = CryptoKeyVersionName { key: key.name.clone(), version: number };
        Ok(self.read(&record_name::version(&name)).await?.map(|stored| stored.value))
    }

    async fn require_ring(&self, name: &KeyRingName) -> Result<(), KmsError> {
        let ring = self.store.get(&record_name::ring(name)).await?;
        ring.map(drop).ok_or_else(|| KmsError::not_found("KeyRing", name))
    }
}
