use keystead_iam::Permission;
use keystead_model::{CryptoKey, ProjectId, ProjectName};

use super::KeyAndPrimary;
use crate::records::record_name;
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Lists the keys of a project, in whatever location and ring they are.
pub struct ListProjectKeys {
    /// The project.
    pub project: ProjectId,
    /// How many; 0: 1,000.
    pub page_size: usize,
    /// What the page before gave; empty: the first page.
    pub page_token: String,
}

/// A page of the keys of a project.
#[derive(Clone, Debug)]
pub struct ProjectKeysPage {
    /// In the order of their names.
    pub keys: Vec<KeyAndPrimary>,
    /// Where the next page begins; empty: this is the last.
    pub next_page_token: String,
}

impl Operation for ListProjectKeys {
    type Output = ProjectKeysPage;

    fn method(&self) -> Method {
        let service = "kmsinventory.googleapis.com";
        Method { service, name: "ListCryptoKeys", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysList)
    }

    fn target(&self) -> Resource {
        Resource::Project(ProjectName { project: self.project.clone() })
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ProjectKeysPage, KmsError> {
        let service = authorised.service();
        let Self { project, page_size, page_token } = authorised.command();
        let prefix = record_name::keys_of(project);
        let (records, next_page_token) =
            service.project_page::<CryptoKey>(&prefix, *page_size, page_token).await?;
        let mut keys = Vec::with_capacity(records.len());
        for key in records {
            let primary = service.primary(&key).await?;
            keys.push(KeyAndPrimary { key, primary });
        }
        Ok(ProjectKeysPage { keys, next_page_token })
    }
}
