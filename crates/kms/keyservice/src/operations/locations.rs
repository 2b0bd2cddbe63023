//! Locations, and the names in them that are retired.

use keystead_iam::Permission;
use keystead_model::listing::Page;
use keystead_model::{LocationName, ProjectName, RetiredResource};

use super::list::ListOptions;
use crate::records::record_name;
use crate::{Authorised, KmsError, Location, Method, MethodKind, Operation, Resource};

/// Lists the names in a location that were used once and never will be again.
pub struct ListRetiredResources {
    /// The location.
    pub parent: LocationName,
    /// Page only: Cloud KMS does not support filter and order here.
    pub options: ListOptions,
}

/// Reads one retired resource.
pub struct GetRetiredResource {
    /// The location.
    pub parent: LocationName,
    /// Its id.
    pub id: String,
}

/// Lists the locations that are served.
pub struct ListLocations {
    /// The project.
    pub project: ProjectName,
}

/// Reads one location.
pub struct GetLocation {
    /// Its name.
    pub name: LocationName,
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

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Page<RetiredResource>, KmsError> {
        let Self { parent, options } = authorised.command();
        authorised.service().require_location(parent)?;
        let listing = options.parse(&parent.to_string())?;
        authorised.service().list(&listing, &record_name::all_retired(parent)).await
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

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<RetiredResource, KmsError> {
        let Self { parent, id } = authorised.command();
        let retired = authorised.service().read(&record_name::retired(parent, id)).await?;
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

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<Location>, KmsError> {
        Ok(authorised.service().settings.locations.clone())
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

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Location, KmsError> {
        authorised.service().require_location(&authorised.command().name).cloned()
    }
}
