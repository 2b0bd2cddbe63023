//! Clusters and what is done to them: one task at a time, each told of by an operation. Operations are records, so that any server
//! on the store can go on with them.

mod change_cluster;
mod create_cluster;
mod key_check;
mod local_clusters;
mod operations_of_clusters;
mod reencrypt_due_cluster;
mod view_clusters;

pub use change_cluster::{DeleteCluster, SetClusterLabels, UpdateClusterEncryption};
pub use create_cluster::CreateCluster;
pub use operations_of_clusters::{CancelClusterOperation, GetClusterOperation, ListClusterOperations};
pub(crate) use reencrypt_due_cluster::ReencryptDueCluster;
pub use view_clusters::{ClusterView, GetCluster, GetServerConfig, ListClusters};

use keystead_model::cluster::{End, Failure, Task};
use keystead_model::{
    Cluster, ClusterName, ClusterOperation, ClusterOperationId, ClusterOperationName, LocationName,
    to_microseconds,
};

use crate::records::{Stored, record_name};
use crate::{Authorised, KeyService, KmsError, Location, Method, MethodKind, Operation};

/// Key rings can be there; clusters cannot, so that a key is never further away than its cluster's region.
const GLOBAL: &str = "global";

fn method(name: &'static str, kind: MethodKind) -> Method {
    Method { service: "container.googleapis.com", name, kind }
}

/// An operation that begins now, because somebody asks for it.
fn new_operation<O: Operation>(
    authorised: &Authorised<'_, O>,
    cluster: &ClusterName,
    task: Task,
    detail: String,
) -> Result<ClusterOperation, KmsError> {
    let start_time = to_microseconds(authorised.now());
    let random = authorised.service().random_bytes::<4>()?;
    // The time first, so that they are stored and listed in that order.
    let id = format!("operation-{:014}-{}", start_time.as_millisecond(), hex::encode(random));
    let operation: ClusterOperationId = id.parse()?;
    let name = ClusterOperationName { location: cluster.location.clone(), operation };
    Ok(ClusterOperation {
        name,
        cluster: cluster.cluster.clone(),
        task,
        start_time,
        detail,
        end: None,
        reason: None,
    })
}

/// The same, when it has ended as soon as it began.
fn ended_at_once(operation: &ClusterOperation, failure: Option<String>) -> ClusterOperation {
    let failure = failure.map(|message| Failure { cancelled: false, message });
    ClusterOperation {
        end: Some(End { time: operation.start_time, failure }),
        detail: String::new(),
        ..operation.clone()
    }
}

impl KeyService {
    pub(super) async fn read_cluster(&self, name: &ClusterName) -> Result<Stored<Cluster>, KmsError> {
        let cluster = self.read(&record_name::cluster(name)).await?;
        cluster.ok_or_else(|| KmsError::not_found("Cluster", name))
    }

    /// The location whose keys a cluster in `name` may use: itself, or the one that it is a zone of.
    fn region(&self, name: &LocationName) -> Result<&Location, KmsError> {
        let asked = name.location.as_str();
        let served = &self.settings.locations;
        let by_letter = asked.rsplit_once('-').filter(|(_, zone)| zone.len() == 1).map(|(region, _)| region);
        let found = served
            .iter()
            .find(|it| it.id.as_str() == asked)
            .or_else(|| served.iter().find(|it| it.zones.contains(&name.location)))
            .or_else(|| served.iter().find(|it| Some(it.id.as_str()) == by_letter))
            .filter(|it| it.id.as_str() != GLOBAL);
        found.ok_or_else(|| {
            KmsError::invalid(format!(
                "Location {asked:?} cannot have clusters. Those that `gcloud kms locations list` shows can, {GLOBAL} aside, and so can their zones."
            ))
        })
    }
}
