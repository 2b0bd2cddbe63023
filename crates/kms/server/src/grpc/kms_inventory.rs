//! `google.cloud.kms.inventory.v1`: the keys of a project, and what a key protects.

mod type_pattern;

use std::collections::{HashMap, HashSet};

use keystead_keyservice::operations::{
    GetProtectedResourcesSummary, ListProjectKeys, ProtectedCluster, ProtectedPage, SearchProtectedResources,
};
use keystead_keyservice::{KmsError, Method, MethodKind};
use keystead_model::{CryptoKeyName, CryptoKeyVersionName, ProjectId};
use keystead_proto::kms_inventory as proto;
use keystead_proto::kms_inventory::key_dashboard_service_server::KeyDashboardService;
use keystead_proto::kms_inventory::key_tracking_service_server::KeyTrackingService;
use tonic::{Request, Response};

use super::call::IdentifiedCall;
use super::cloud_kms::record;
use super::projects::{id_of, page_size};
use super::time::to_proto;
use super::{Adapter, Answer};

/// The only type of what is protected here.
const CLUSTER: &str = "container.googleapis.com/Cluster";
const CONTAINER: &str = "container";
/// Longest number of an organization, in digits.
const MAX_ORGANIZATION_LEN: usize = 20;

const fn reads(name: &'static str) -> Method {
    Method { service: "kmsinventory.googleapis.com", name, kind: MethodKind::AdminRead }
}

#[tonic::async_trait]
impl KeyDashboardService for Adapter {
    async fn list_crypto_keys(
        &self,
        request: Request<proto::ListCryptoKeysRequest>,
    ) -> Answer<proto::ListCryptoKeysResponse> {
        let (call, request) = self.identify(request, reads("ListCryptoKeys")).await?;
        let proto::ListCryptoKeysRequest { parent, page_size: size, page_token } = request;
        let command = match (id_of(&call, &parent).await, page_size(size)) {
            (Ok(project), Ok(page_size)) => Ok(ListProjectKeys { project, page_size, page_token }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let page = call.run(&parent, command).await?;
        Ok(Response::new(proto::ListCryptoKeysResponse {
            crypto_keys: page.keys.iter().map(record::crypto_key).collect(),
            next_page_token: page.next_page_token,
        }))
    }
}

#[tonic::async_trait]
impl KeyTrackingService for Adapter {
    async fn get_protected_resources_summary(
        &self,
        request: Request<proto::GetProtectedResourcesSummaryRequest>,
    ) -> Answer<proto::ProtectedResourcesSummary> {
        let (call, request) = self.identify(request, reads("GetProtectedResourcesSummary")).await?;
        let command = key_or_version(&request.name);
        let protected = call.run(&request.name, command).await?;
        Ok(Response::new(summary(&request.name, &protected)))
    }

    async fn search_protected_resources(
        &self,
        request: Request<proto::SearchProtectedResourcesRequest>,
    ) -> Answer<proto::SearchProtectedResourcesResponse> {
        let (call, request) = self.identify(request, reads("SearchProtectedResources")).await?;
        let command = search(&call, &request).await;
        let key = command.as_ref().ok().map(|command| command.key.clone());
        let page = call.run(&request.scope, command).await?;
        let resources = key.map(|key| resources(&key, &page)).unwrap_or_default();
        Ok(Response::new(proto::SearchProtectedResourcesResponse {
            protected_resources: resources,
            next_page_token: page.next_page_token,
        }))
    }
}

fn key_or_version(name: &str) -> Result<GetProtectedResourcesSummary, KmsError> {
    if name.contains("/cryptoKeyVersions/") {
        let CryptoKeyVersionName { key, version } = name.parse()?;
        return Ok(GetProtectedResourcesSummary { key, version: Some(version) });
    }
    Ok(GetProtectedResourcesSummary { key: name.parse()?, version: None })
}

async fn search(
    call: &IdentifiedCall<'_>,
    request: &proto::SearchProtectedResourcesRequest,
) -> Result<SearchProtectedResources, KmsError> {
    let scope = scope(call, &request.scope).await?;
    let key = request.crypto_key.parse()?;
    for pattern in &request.resource_types {
        type_pattern::check(pattern, CLUSTER)?;
    }
    let page_size = page_size(request.page_size)?;
    Ok(SearchProtectedResources { scope, key, page_size, page_token: request.page_token.clone() })
}

/// The project, or none for an organization: the server is one, whatever number its users give it.
async fn scope(call: &IdentifiedCall<'_>, scope: &str) -> Result<Option<ProjectId>, KmsError> {
    if let Some(number) = scope.strip_prefix("organizations/") {
        let is_number = (1..=MAX_ORGANIZATION_LEN).contains(&number.len())
            && number.bytes().all(|it| it.is_ascii_digit());
        return if is_number { Ok(None) } else { Err(no_scope()) };
    }
    if !scope.starts_with("projects/") {
        return Err(no_scope());
    }
    Ok(Some(id_of(call, scope).await?))
}

fn no_scope() -> KmsError {
    KmsError::invalid(
        "The scope must be organizations/NUMBER, which is the whole server, projects/ID or projects/NUMBER.",
    )
}

fn summary(name: &str, protected: &[ProtectedCluster]) -> proto::ProtectedResourcesSummary {
    let projects: HashSet<&ProjectId> =
        protected.iter().map(|it| &it.cluster.name.location.project).collect();
    let mut locations: HashMap<String, i64> = HashMap::new();
    for it in protected {
        *locations.entry(it.cluster.name.location.location.to_string()).or_default() += 1;
    }
    let count = i64::try_from(protected.len()).unwrap_or(i64::MAX);
    let all = |what: &str| match count {
        0 => HashMap::new(),
        count => HashMap::from([(what.to_owned(), count)]),
    };
    proto::ProtectedResourcesSummary {
        name: format!("{name}/protectedResourcesSummary"),
        resource_count: count,
        project_count: i32::try_from(projects.len()).unwrap_or(i32::MAX),
        resource_types: all(CLUSTER),
        cloud_products: all(CONTAINER),
        locations,
        warnings: Vec::new(),
    }
}

fn resources(key: &CryptoKeyName, page: &ProtectedPage) -> Vec<proto::ProtectedResource> {
    let resource = |ProtectedCluster { cluster, versions }: &ProtectedCluster| {
        let version = |version: &_| CryptoKeyVersionName { key: key.clone(), version: *version }.to_string();
        let versions: Vec<String> = versions.iter().map(version).collect();
        let project = &cluster.name.location.project;
        let number = page.projects.get(project).map(|number| format!("projects/{number}"));
        proto::ProtectedResource {
            name: format!("//container.googleapis.com/{}", cluster.name),
            project: number.unwrap_or_default(),
            project_id: project.to_string(),
            cloud_product: CONTAINER.to_owned(),
            resource_type: CLUSTER.to_owned(),
            location: cluster.name.location.location.to_string(),
            labels: cluster.labels.clone().into_iter().collect(),
            crypto_key_version: versions.first().cloned().unwrap_or_default(),
            crypto_key_versions: versions,
            create_time: Some(prost_types::Timestamp { nanos: 0, ..to_proto(cluster.create_time) }),
        }
    };
    page.clusters.iter().map(resource).collect()
}
