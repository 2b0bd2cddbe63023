//! What is to be done for clusters that the server itself runs. Whoever runs them is told here, and decides nothing.

use keystead_model::{Cluster, ClusterName};
use keystead_store::Batch;

use crate::operations::{InviteLocalHost, NewToken};
use crate::records::record_name;
use crate::{KeyService, KmsError};

/// A cluster that the server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCluster {
    /// Its name.
    pub name: ClusterName,
    /// Random, 64 hexadecimal digits, never used again.
    pub id: String,
    /// How many API servers it has.
    pub api_servers: u8,
    /// The names of the Nodes of those hosts that have not joined it.
    pub absent: Vec<String>,
}

impl KeyService {
    /// All clusters that the server is to run, by name.
    pub async fn local_clusters(&self) -> Result<Vec<LocalCluster>, KmsError> {
        let clusters: Vec<Cluster> = self.read_all(record_name::CLUSTERS).await?;
        let mut local = Vec::new();
        for cluster in clusters {
            let Some(api_servers) = cluster.local_api_servers else { continue };
            let hosts = self.hosts_of(&cluster.name).await?;
            let has_joined = |node: &String| hosts.iter().any(|it| it.node == *node && it.joined.is_some());
            let absent = cluster.local_nodes().filter(|node| !has_joined(node)).collect();
            local.push(LocalCluster { name: cluster.name, id: cluster.id, api_servers, absent });
        }
        Ok(local)
    }

    /// A join token for a host of a local cluster. An earlier one counts no more.
    pub async fn invite_local_host(&self, cluster: &ClusterName, node: &str) -> Result<NewToken, KmsError> {
        let call = self.schedule_call()?;
        let invite = InviteLocalHost { cluster: cluster.clone(), node: node.to_owned() };
        Ok(self.run(&call, invite).await?.token)
    }

    /// The ids of local clusters that were deleted and may have left something.
    pub async fn deleted_local_clusters(&self) -> Result<Vec<String>, KmsError> {
        self.read_all(record_name::DELETED_LOCAL_CLUSTERS).await
    }

    /// Nothing is left of a local cluster.
    pub async fn forget_local_cluster(&self, id: &str) -> Result<(), KmsError> {
        let record = record_name::deleted_local_cluster(id);
        let Some(entry) = self.store.get(&record).await? else { return Ok(()) };
        match self.ledger.commit(Batch::default().delete(record, entry.revision), None).await {
            Ok(committed) => committed.complete().map(drop),
            Err(uncommitted) => Err(uncommitted.error),
        }
    }
}
