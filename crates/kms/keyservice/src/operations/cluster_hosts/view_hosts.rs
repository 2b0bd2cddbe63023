use keystead_iam::Permission;
use keystead_model::{Cluster, ClusterHost, ClusterName};

use super::method;
use crate::records::record_name;
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Lists the hosts of a cluster, by the names of their Nodes.
pub struct ListHosts {
    /// The cluster.
    pub cluster: ClusterName,
}

impl Operation for ListHosts {
    type Output = Vec<ClusterHost>;

    fn method(&self) -> Method {
        method("ListHosts", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersGet)
    }

    fn target(&self) -> Resource {
        Resource::Cluster(self.cluster.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<ClusterHost>, KmsError> {
        let (service, cluster) = (authorised.service(), &authorised.command().cluster);
        if service.read::<Cluster>(&record_name::cluster(cluster)).await?.is_none() {
            return Err(KmsError::not_found("Cluster", cluster));
        }
        let mut hosts = service.hosts_of(cluster).await?;
        hosts.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(hosts)
    }
}
