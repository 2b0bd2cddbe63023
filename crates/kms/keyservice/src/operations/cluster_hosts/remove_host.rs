use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::{ClusterHostName, to_microseconds};
use keystead_store::Batch;

use super::{hosts_are_the_servers, method};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Forgets a host: its agent and its plugins' tokens count no more from the next request on. Nothing on the host is changed.
pub struct RemoveHost {
    /// The host.
    pub name: ClusterHostName,
}

impl Operation for RemoveHost {
    type Output = ();

    fn method(&self) -> Method {
        method("RemoveHost", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersUpdate)
    }

    fn target(&self) -> Resource {
        Resource::Cluster(self.name.cluster.clone())
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with("host", self.name.host.as_str())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let (service, now) = (authorised.service(), to_microseconds(authorised.now()));
        let stored = service.read_host(&authorised.command().name).await?;
        let cluster = &stored.value.name.cluster;
        if service.read_cluster(cluster).await?.value.local_api_servers.is_some() {
            return Err(hosts_are_the_servers(cluster));
        }
        authorised.outcome().response = SafeFields::new().with("node", stored.value.node.as_str());
        let batch = service.removing_host(Batch::default(), &stored, now).await?;
        authorised.commit(batch).await?;
        Ok(())
    }
}
