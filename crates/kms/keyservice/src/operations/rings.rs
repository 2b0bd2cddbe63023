//! Key rings.

use keystead_iam::Permission;
use keystead_model::listing::Page;
use keystead_model::{ErrorClass, KeyRing, KeyRingName, LocationName, ProjectId, ProjectName};
use keystead_store::Batch;

use super::list::ListOptions;
use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Makes a key ring. It can never be deleted, and its name never used for another.
pub struct CreateKeyRing {
    /// Its name.
    pub name: KeyRingName,
}

/// Reads a key ring.
pub struct GetKeyRing {
    /// Its name.
    pub name: KeyRingName,
}

/// Lists the key rings of a location.
pub struct ListKeyRings {
    /// The location.
    pub parent: LocationName,
    /// Page, filter and order.
    pub options: ListOptions,
}

/// Lists the key rings of a project, in whatever location they are.
pub struct ListProjectKeyRings {
    /// The project.
    pub project: ProjectId,
    /// How many; 0: 1,000.
    pub page_size: usize,
    /// What the page before gave; empty: the first page.
    pub page_token: String,
}

/// A page of the key rings of a project.
#[derive(Clone, Debug)]
pub struct ProjectKeyRingsPage {
    /// In the order of their names.
    pub rings: Vec<KeyRing>,
    /// Where the next page begins; empty: this is the last.
    pub next_page_token: String,
}

impl Operation for CreateKeyRing {
    type Output = KeyRing;

    fn method(&self) -> Method {
        Method::kms("CreateKeyRing", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::KeyRingsCreate)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.name.location.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<KeyRing, KmsError> {
        let name = authorised.command().name.clone();
        authorised.service().require_location(&name.location)?;
        let ring = KeyRing { name: name.clone(), create_time: authorised.now() };
        let batch = Batch::default().create(record_name::ring(&name), encode(&ring)?);
        authorised.outcome().resource = Some(name.to_string().into());
        match authorised.commit(batch).await {
            Ok(_) => Ok(ring),
            Err(error) if error.class() == ErrorClass::AlreadyExists => {
                Err(KmsError::already_exists("KeyRing", name))
            }
            Err(error) => Err(error),
        }
    }
}

impl Operation for GetKeyRing {
    type Output = KeyRing;

    fn method(&self) -> Method {
        Method::kms("GetKeyRing", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::KeyRingsGet)
    }

    fn target(&self) -> Resource {
        Resource::KeyRing(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<KeyRing, KmsError> {
        let name = &authorised.command().name;
        let ring = authorised.service().read(&record_name::ring(name)).await?;
        Ok(ring.ok_or_else(|| KmsError::not_found("KeyRing", name))?.value)
    }
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

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Page<KeyRing>, KmsError> {
        let Self { parent, options } = authorised.command();
        authorised.service().require_location(parent)?;
        let listing = options.parse(&parent.to_string())?;
        authorised.service().list(&listing, &record_name::rings(parent)).await
    }
}

impl Operation for ListProjectKeyRings {
    type Output = ProjectKeyRingsPage;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "ListProjectKeyRings", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::KeyRingsList)
    }

    fn target(&self) -> Resource {
        Resource::Project(ProjectName { project: self.project.clone() })
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ProjectKeyRingsPage, KmsError> {
        let Self { project, page_size, page_token } = authorised.command();
        let prefix = record_name::rings_of(project);
        let (rings, next_page_token) =
            authorised.service().project_page(&prefix, *page_size, page_token).await?;
        Ok(ProjectKeyRingsPage { rings, next_page_token })
    }
}
