//! Lists: of locations, key rings, keys, versions and retired resources.

use keystead_iam::Permission;
use keystead_model::listing::{Fields, ListRequest, Listing, Page};
use keystead_model::{
    CryptoKey, CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName, ErrorClass, KeyRing, KeyRingName,
    LocationName, ProjectName, RetiredResource,
};
use serde::de::DeserializeOwned;

use super::KeyAndPrimary;
use crate::records::{decode, record_name};
use crate::{Act, KeyService, KmsError, Location, Method, MethodKind, Operation, Resource};

/// Records that are read at once.
const READ: usize = 1000;

/// How a caller wants a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// 0: 100.
    pub page_size: i32,
    /// From the answer before.
    pub page_token: String,
    /// In the language of Cloud KMS.
    pub filter: String,
    /// Such as `name desc`.
    pub order_by: String,
}

/// Lists the key rings of a location.
pub struct ListKeyRings {
    /// Of which location.
    pub parent: LocationName,
    /// How.
    pub options: ListOptions,
}

/// Lists the keys of a ring.
pub struct ListCryptoKeys {
    /// Of which ring.
    pub parent: KeyRingName,
    /// How.
    pub options: ListOptions,
}

/// Lists the versions of a key.
pub struct ListCryptoKeyVersions {
    /// Of which key.
    pub parent: CryptoKeyName,
    /// How.
    pub options: ListOptions,
}

/// Lists the names in a location that were used once and never will be again.
pub struct ListRetiredResources {
    /// Of which location.
    pub parent: LocationName,
    /// How; filter and order are not supported by Cloud KMS here.
    pub options: ListOptions,
}

/// Reads one retired resource.
pub struct GetRetiredResource {
    /// Of which location.
    pub parent: LocationName,
    /// Its id.
    pub id: String,
}

/// Lists the locations that are served.
pub struct ListLocations {
    /// For which project.
    pub project: ProjectName,
}

/// Reads one location.
pub struct GetLocation {
    /// Its name.
    pub name: LocationName,
}

impl Operation for ListKeyRings {
    type Output = Page<KeyRing>;

    fn method(&self) -> Method {
        Method::kms("ListKeyRings", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::KeyRingsList)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.parent.clone())
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<Page<KeyRing>, KmsError> {
        let Self { parent, options } = act.command();
        act.service().require_location(parent)?;
        let listing = options.parse(&parent.to_string())?;
        act.service().list(&listing, &record_name::rings(parent)).await
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

    async fn perform(act: &mut Act<'_, Self>) -> Result<Page<KeyAndPrimary>, KmsError> {
        let Self { parent, options } = act.command();
        let service = act.service();
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
        let (mut sieve, mut after) = (listing.sieve(), String::new());
        loop {
            let (keys, last) = service.read_some(&record_name::keys(parent), &after).await?;
            for key in keys {
                let primary = service.primary(&key).await?;
                sieve.add(KeyAndPrimary { key, primary });
            }
            match last {
                Some(last) => after = last,
                None => return Ok(sieve.page()),
            }
        }
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

    async fn perform(act: &mut Act<'_, Self>) -> Result<Page<CryptoKeyVersion>, KmsError> {
        let Self { parent, options } = act.command();
        act.service().read_key(parent).await?;
        let listing = options.parse(&parent.to_string())?;
        act.service().list(&listing, &record_name::versions(parent)).await
    }
}

impl Operation for ListRetiredResources {
    type Output = Page<RetiredResource>;

    fn method(&self) -> Method {
        Method::kms("ListRetiredResources", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::RetiredResourcesList)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.parent.clone())
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<Page<RetiredResource>, KmsError> {
        let Self { parent, options } = act.command();
        act.service().require_location(parent)?;
        let listing = options.parse(&parent.to_string())?;
        act.service().list(&listing, &record_name::all_retired(parent)).await
    }
}

impl Operation for GetRetiredResource {
    type Output = RetiredResource;

    fn method(&self) -> Method {
        Method::kms("GetRetiredResource", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::RetiredResourcesGet)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.parent.clone())
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<RetiredResource, KmsError> {
        let Self { parent, id } = act.command();
        let retired = act.service().read(&record_name::retired(parent, id)).await?;
        let missing = || KmsError::not_found("RetiredResource", format!("{parent}/retiredResources/{id}"));
        Ok(retired.ok_or_else(missing)?.value)
    }
}

impl Operation for ListLocations {
    type Output = Vec<Location>;

    fn method(&self) -> Method {
        Method::kms("ListLocations", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::LocationsList)
    }

    fn target(&self) -> Resource {
        Resource::Project(self.project.clone())
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<Vec<Location>, KmsError> {
        Ok(act.service().settings.locations.clone())
    }
}

impl Operation for GetLocation {
    type Output = Location;

    fn method(&self) -> Method {
        Method::kms("GetLocation", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::LocationsGet)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.name.clone())
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<Location, KmsError> {
        act.service().require_location(&act.command().name).cloned()
    }
}

/// Nobody closes it while the service is there.
fn closed() -> KmsError {
    KmsError::new(ErrorClass::Bug, "lists are not read any more")
}

impl ListOptions {
    fn parse<T: Fields>(&self, parent: &str) -> Result<Listing<T>, KmsError> {
        Ok(Listing::parse(&ListRequest {
            parent,
            page_size: self.page_size,
            page_token: &self.page_token,
            filter: &self.filter,
            order_by: &self.order_by,
        })?)
    }
}

impl KeyService {
    /// A page of the records under a prefix, which are listed as they are.
    async fn list<T: Fields + DeserializeOwned>(
        &self,
        listing: &Listing<T>,
        prefix: &str,
    ) -> Result<Page<T>, KmsError> {
        if listing.is_plain() {
            let items = self.read_page(listing, prefix).await?;
            return Ok(listing.plain_page(items, self.total(prefix).await?));
        }
        let _place = self.scans.acquire().await.map_err(|_| closed())?;
        let (mut sieve, mut after) = (listing.sieve(), String::new());
        loop {
            let (items, last) = self.read_some(prefix, &after).await?;
            items.into_iter().for_each(|item| sieve.add(item));
            match last {
                Some(last) => after = last,
                None => return Ok(sieve.page()),
            }
        }
    }

    /// The primary of a key that was read from a list. Key and version may have been deleted since.
    async fn primary(&self, key: &CryptoKey) -> Result<Option<CryptoKeyVersion>, KmsError> {
        let Some(number) = key.primary else { return Ok(None) };
        let name = CryptoKeyVersionName { key: key.name.clone(), version: number };
        Ok(self.read(&record_name::version(&name)).await?.map(|stored| stored.value))
    }

    /// The records of a page of a plain list, and one more. Names of records end as the names of what they hold.
    async fn read_page<T: Fields, R: DeserializeOwned>(
        &self,
        listing: &Listing<T>,
        prefix: &str,
    ) -> Result<Vec<R>, KmsError> {
        let after = listing.begins_after().map(|last| format!("{prefix}{last}")).unwrap_or_default();
        let entries = self.store.list(prefix, &after, listing.wanted()).await?;
        entries.iter().map(|entry| decode(&entry.name, &entry.value)).collect()
    }

    async fn total(&self, prefix: &str) -> Result<usize, KmsError> {
        Ok(usize::try_from(self.store.count(prefix).await?).unwrap_or(usize::MAX))
    }

    /// All records under a prefix.
    pub(crate) async fn read_all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, KmsError> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let (mut items, last) = self.read_some(prefix, &after).await?;
            all.append(&mut items);
            match last {
                Some(last) => after = last,
                None => return Ok(all),
            }
        }
    }

    /// Some records under a prefix, and the name of the last one if there may be more.
    async fn read_some<T: DeserializeOwned>(
        &self,
        prefix: &str,
        after: &str,
    ) -> Result<(Vec<T>, Option<String>), KmsError> {
        let entries = self.store.list(prefix, after, READ).await?;
        let items =
            entries.iter().map(|entry| decode(&entry.name, &entry.value)).collect::<Result<_, _>>()?;
        let full = entries.len() == READ;
        Ok((items, entries.into_iter().last().filter(|_| full).map(|last| last.name)))
    }

    async fn require_ring(&self, name: &KeyRingName) -> Result<(), KmsError> {
        let ring = self.store.get(&record_name::ring(name)).await?;
        ring.map(drop).ok_or_else(|| KmsError::not_found("KeyRing", name))
    }
}
