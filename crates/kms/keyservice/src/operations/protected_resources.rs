//! What a key protects: the clusters that need it, and which of its versions.

use std::collections::BTreeMap;

use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::listing::{issue_token, read_token};
use keystead_model::{CryptoKeyName, ProjectId, ProjectName, VersionNumber};

use super::list::closed;
use crate::service::ProtectedCluster;
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// The size of a page when the caller asks for none, and the largest.
const MAX_PAGE: usize = 500;

/// Lists what a key protects, where the caller may look. Whoever asks has to be allowed to see the key too.
pub struct SearchProtectedResources {
    /// The project of what is protected; none: whatever is on this server.
    pub scope: Option<ProjectId>,
    /// The key.
    pub key: CryptoKeyName,
    /// How many; 0: 500.
    pub page_size: usize,
    /// What the page before gave; empty: the first page.
    pub page_token: String,
}

/// A page of what a key protects.
#[derive(Clone, Debug)]
pub struct ProtectedPage {
    /// In the order of their names.
    pub clusters: Vec<ProtectedCluster>,
    /// The numbers of their projects.
    pub projects: BTreeMap<ProjectId, u64>,
    /// Where the next page begins; empty: this is the last.
    pub next_page_token: String,
}

/// Tells all that a key or one of its versions protects, for whoever may see the key: to be counted, and not to be named.
pub struct GetProtectedResourcesSummary {
    /// The key.
    pub key: CryptoKeyName,
    /// The version; none: of whichever version.
    pub version: Option<VersionNumber>,
}

impl Operation for SearchProtectedResources {
    type Output = ProtectedPage;

    fn method(&self) -> Method {
        method("SearchProtectedResources")
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ProtectedResourcesSearch)
    }

    fn target(&self) -> Resource {
        match &self.scope {
            Some(project) => Resource::Project(ProjectName { project: project.clone() }),
            None => Resource::Server,
        }
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with("cryptoKey", self.key.text().as_str())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ProtectedPage, KmsError> {
        let service = authorised.service();
        let Self { scope, key, page_size, page_token } = authorised.command();
        let resource = Resource::CryptoKey(key.clone());
        service.require(authorised.call(), Permission::CryptoKeysGet, &resource).await?;
        service.require_enabled_service("cloudkms.googleapis.com", &resource).await?;
        let within = scope.as_ref().map(ToString::to_string).unwrap_or_default();
        let bound_to = [key.to_string(), within];
        let after = match page_token.as_str() {
            "" => String::new(),
            token => read_token(token, &bound_to)?,
        };
        let mut clusters = service.protected(key).await?;
        if let Some(scope) = scope
            && service.find_project(scope).await?.is_none()
        {
            return Err(KmsError::not_found("Project", scope));
        }
        clusters.retain(|it| {
            let name = &it.cluster.name;
            scope.as_ref().is_none_or(|scope| name.location.project == *scope) && name.to_string() > after
        });
        clusters.sort_by_cached_key(|it| it.cluster.name.to_string());
        let page_size = if *page_size == 0 { MAX_PAGE } else { (*page_size).min(MAX_PAGE) };
        let more = clusters.len() > page_size;
        clusters.truncate(page_size);
        let next_page_token = match clusters.last() {
            Some(last) if more => issue_token(&last.cluster.name.to_string(), &bound_to),
            _ => String::new(),
        };
        let mut projects = BTreeMap::new();
        for ProtectedCluster { cluster, .. } in &clusters {
            let id = &cluster.name.location.project;
            if !projects.contains_key(id)
                && let Some(project) = service.find_project(id).await?
            {
                projects.insert(id.clone(), project.number);
            }
        }
        Ok(ProtectedPage { clusters, projects, next_page_token })
    }
}

impl Operation for GetProtectedResourcesSummary {
    type Output = Vec<ProtectedCluster>;

    fn method(&self) -> Method {
        method("GetProtectedResourcesSummary")
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysGet)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.key.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<ProtectedCluster>, KmsError> {
        let service = authorised.service();
        let Self { key, version } = authorised.command();
        let Some(version) = version else { return service.protected(key).await };
        service.read_version(key, *version).await?;
        let mut clusters = service.protected(key).await?;
        clusters.retain(|it| it.versions.contains(version));
        Ok(clusters)
    }
}

impl KeyService {
    async fn protected(&self, key: &CryptoKeyName) -> Result<Vec<ProtectedCluster>, KmsError> {
        let key = self.read_key(key).await?;
        // Every version of the key is looked at.
        let _place = self.scans.acquire().await.map_err(|_| closed())?;
        self.protected_clusters(&key).await
    }
}

fn method(name: &'static str) -> Method {
    Method { service: "kmsinventory.googleapis.com", name, kind: MethodKind::AdminRead }
}
