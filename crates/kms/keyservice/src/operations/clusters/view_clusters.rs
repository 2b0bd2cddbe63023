use keystead_iam::Permission;
use keystead_model::cluster::reencryption::Outdated;
use keystead_model::{Cluster, ClusterName, LocationName, ProjectId, ProjectName};

use super::method;
use crate::records::record_name;
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// A cluster, and what is to be seen of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// The cluster.
    pub cluster: Cluster,
    /// Values that still need another version of its key than the primary one; none: none were counted, or nobody has counted.
    pub outdated: Option<Outdated>,
}

/// Reads a cluster.
pub struct GetCluster {
    /// Its name.
    pub name: ClusterName,
}

/// Lists clusters, by location and name.
pub struct ListClusters {
    /// Their project.
    pub project: ProjectId,
    /// Where they are; none: anywhere.
    pub location: Option<LocationName>,
}

/// Says what clusters in a location can be.
pub struct GetServerConfig {
    /// The location.
    pub location: LocationName,
}

impl Operation for GetCluster {
    type Output = ClusterView;

    fn method(&self) -> Method {
        method("GetCluster", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersGet)
    }

    fn target(&self) -> Resource {
        Resource::Cluster(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ClusterView, KmsError> {
        let service = authorised.service();
        service.view_of(service.read_cluster(&authorised.command().name).await?.value).await
    }
}

impl Operation for ListClusters {
    type Output = Vec<ClusterView>;

    fn method(&self) -> Method {
        method("ListClusters", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersList)
    }

    fn target(&self) -> Resource {
        of(&self.project, self.location.as_ref())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<ClusterView>, KmsError> {
        let Self { project, location } = authorised.command();
        let prefix = match location {
            Some(location) => {
                authorised.service().region(location)?;
                record_name::clusters(location)
            }
            None => record_name::clusters_of(project),
        };
        let mut clusters: Vec<Cluster> = authorised.service().read_all(&prefix).await?;
        // A region before its zones, which names of records are not.
        clusters.sort_by(|one, other| one.name.cmp(&other.name));
        let mut views = Vec::new();
        for cluster in clusters {
            views.push(authorised.service().view_of(cluster).await?);
        }
        Ok(views)
    }
}

impl Operation for GetServerConfig {
    type Output = ();

    fn method(&self) -> Method {
        method("GetServerConfig", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersList)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.location.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        authorised.service().region(&authorised.command().location)?;
        Ok(())
    }
}

impl KeyService {
    async fn view_of(&self, cluster: Cluster) -> Result<ClusterView, KmsError> {
        let outdated = self.outdated(&cluster).await?;
        Ok(ClusterView { cluster, outdated })
    }
}

/// What the permission for a list is asked for.
pub(super) fn of(project: &ProjectId, location: Option<&LocationName>) -> Resource {
    match location {
        Some(location) => Resource::Location(location.clone()),
        None => Resource::Project(ProjectName { project: project.clone() }),
    }
}
