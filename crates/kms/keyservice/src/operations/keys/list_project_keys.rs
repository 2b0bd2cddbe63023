use keystead_iam::Permission;
use keystead_model::listing::{issue_token, read_token};
use keystead_model::{CryptoKey, ProjectId, ProjectName};

use super::KeyAndPrimary;
use crate::records::{decode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// The size of a page when the caller asks for none, and the largest.
const MAX_PAGE: usize = 1_000;

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
        let page_size = if *page_size == 0 { MAX_PAGE } else { (*page_size).min(MAX_PAGE) };
        let prefix = record_name::keys_of(project);
        let bound_to = [prefix.clone()];
        let after = match page_token.as_str() {
            "" => String::new(),
            token => format!("{prefix}{}", read_token(token, &bound_to)?),
        };
        let mut entries = service.store.list(&prefix, &after, page_size + 1).await?;
        let more = entries.len() > page_size;
        entries.truncate(page_size);
        let last = entries.last().and_then(|last| last.name.strip_prefix(&prefix)).filter(|_| more);
        let next_page_token = last.map(|last| issue_token(last, &bound_to)).unwrap_or_default();
        let mut keys = Vec::with_capacity(entries.len());
        for entry in &entries {
            let key: CryptoKey = decode(&entry.name, &entry.value)?;
            let primary = service.primary(&key).await?;
            keys.push(KeyAndPrimary { key, primary });
        }
        Ok(ProjectKeysPage { keys, next_page_token })
    }
}
