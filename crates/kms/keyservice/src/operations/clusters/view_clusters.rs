use keystead_iam::Permission;
use keystead_model::{Cluster, ClusterName, LocationName, ProjectId, ProjectName};

use super::method;
use crate::records::record_name;
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

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
    type Output = Cluster;

    fn method(&self) -> Method {
        method("GetCluster", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersGet)
    }

    fn target(&self) -> Resource {
        Resource::Cluster(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Cluster, KmsError> {
        Ok(authorised.service().read_cluster(&authorised.command().name).await?.value)
    }
}

impl Operation for ListClusters {
    type Output = Vec<Cluster>;

    fn method(&self) -> Method {
        method("ListClusters", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersList)
    }

    fn target(&self) -> Resource {
        of(&self.project, self.location.as_ref())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<Cluster>, KmsError> {
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
        Ok(clusters)
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

/// What the permission for a list is asked for.
pub(super) fn of(project: &ProjectId, location: Option<&LocationName>) -> Resource {
    match location {
        Some(location) => Resource::Location(location.clone()),
        None => Resource::Project(ProjectName { project: project.clone() }),
    }
}
