use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::cluster::{Failure, Task};
use keystead_model::{
    ClusterName, ClusterOperation, ClusterOperationName, ErrorClass, LocationName, ProjectId, to_microseconds,
};
use keystead_store::Batch;

use super::local_clusters::removing_local;
use super::method;
use super::view_clusters::of;
use crate::records::{Stored, encode, record_name};
use crate::service::FailureReason;
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Operations of one answer, the newest: the API has no pages for them.
const MOST_LISTED: usize = 1000;

/// Reads an operation.
pub struct GetClusterOperation {
    /// Its name.
    pub name: ClusterOperationName,
}

/// Lists operations, the oldest first.
pub struct ListClusterOperations {
    /// Their project.
    pub project: ProjectId,
    /// Where they are; none: anywhere.
    pub location: Option<LocationName>,
}

/// Ends an operation. What it has not begun is not done; a cluster that it has begun to change stays readable as it is. A cluster
/// that was to be made, and was not, is gone.
pub struct CancelClusterOperation {
    /// Its name.
    pub name: ClusterOperationName,
}

impl Operation for GetClusterOperation {
    type Output = ClusterOperation;

    fn method(&self) -> Method {
        method("GetOperation", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClusterOperationsGet)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.name.location.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ClusterOperation, KmsError> {
        let name = authorised.command().name.clone();
        authorised.outcome().resource = Some(name.to_string().into());
        let now = authorised.now();
        let service = authorised.service();
        service.with_detail(service.read_cluster_operation(&name).await?.value, now).await
    }
}

impl Operation for ListClusterOperations {
    type Output = Vec<ClusterOperation>;

    fn method(&self) -> Method {
        method("ListOperations", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClusterOperationsList)
    }

    fn target(&self) -> Resource {
        of(&self.project, self.location.as_ref())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<ClusterOperation>, KmsError> {
        let Self { project, location } = authorised.command();
        let prefix = match location {
            Some(location) => {
                authorised.service().region(location)?;
                record_name::cluster_operations(location)
            }
            None => record_name::cluster_operations_of(project),
        };
        let mut operations = authorised.service().newest_operations(&prefix).await?;
        for operation in operations.iter_mut().filter(|it| it.end.is_none()) {
            *operation = authorised.service().with_detail(operation.clone(), authorised.now()).await?;
        }
        Ok(operations)
    }
}

impl Operation for CancelClusterOperation {
    type Output = ();

    fn method(&self) -> Method {
        method("CancelOperation", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersUpdate)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.name.location.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let service = authorised.service();
        let name = authorised.command().name.clone();
        authorised.outcome().resource = Some(name.to_string().into());
        let stored = service.read_cluster_operation(&name).await?;
        authorised.outcome().response = SafeFields::new().with("cluster", stored.value.cluster.as_str());
        if stored.value.end.is_some() {
            let text = format!("Operation {name} has ended already.");
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        let cluster = ClusterName { location: name.location.clone(), cluster: stored.value.cluster.clone() };
        let cluster = match service.read_cluster(&cluster).await {
            Ok(cluster) => cluster,
            // Somebody else has cancelled it since it was read.
            Err(error) if error.class() == ErrorClass::NotFound => return Err(authorised.start_over(error)),
            Err(error) => return Err(error),
        };
        let time = to_microseconds(authorised.now());
        let message = format!("cancelled by {}", authorised.call().caller().principal.email());
        authorised.tell_failure(&stored.value, FailureReason::Cancelled, &message);
        let record = record_name::cluster(&cluster.value.name);
        let begun = cluster.value.running.as_ref().is_some_and(|running| running.begun);
        let batch = match stored.value.task {
            Task::Create(_) if !begun => {
                let batch = Batch::default().delete(record, cluster.revision);
                let batch = removing_local(batch, &cluster.value)?;
                service.removing_hosts(batch, &cluster.value.name, time).await?
            }
            _ => {
                let left = cluster.value.fail(&message, time);
                Batch::default().replace(record, cluster.revision, encode(&left)?)
            }
        };
        let ended = stored.value.ended(time, Some(Failure { cancelled: true, message }));
        let batch = batch.replace(record_name::cluster_operation(&name), stored.revision, encode(&ended)?);
        authorised.commit(batch).await?;
        Ok(())
    }
}

impl KeyService {
    async fn read_cluster_operation(
        &self,
        name: &ClusterOperationName,
    ) -> Result<Stored<ClusterOperation>, KmsError> {
        let operation = self.read(&record_name::cluster_operation(name)).await?;
        operation.ok_or_else(|| KmsError::not_found("Operation", name))
    }

    async fn newest_operations(&self, prefix: &str) -> Result<Vec<ClusterOperation>, KmsError> {
        let (mut newest, mut after) = (Vec::new(), String::new());
        loop {
            let (mut some, last) = self.read_some::<ClusterOperation>(prefix, &after).await?;
            newest.append(&mut some);
            newest.sort_by_key(|operation| operation.start_time);
            let too_many = newest.len().saturating_sub(MOST_LISTED);
            newest.drain(..too_many);
            match last {
                Some(last) => after = last,
                None => return Ok(newest),
            }
        }
    }
}
