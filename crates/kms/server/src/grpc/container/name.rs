//! Names in requests: whole, or in the three parts that the API had before.

use keystead_keyservice::KmsError;
use keystead_model::{ClusterName, ClusterOperationName, LocationName, ProjectId};

use crate::grpc::call::IdentifiedCall;

/// Stands for every location in a list.
const EVERYWHERE: &str = "-";

/// What a request is about.
pub(in crate::grpc) struct Named {
    /// As it was sent, for the audit log.
    pub(in crate::grpc) name: String,
    /// The parts name something else.
    conflict: bool,
}

impl Named {
    pub(super) fn parent(name: &str, project: &str, zone: &str) -> Self {
        Self::of(name, project, zone, "", "")
    }

    /// A cluster in this place.
    pub(super) fn new_cluster(self, id: &str) -> Self {
        Self { name: format!("{}/clusters/{id}", self.name), conflict: self.conflict }
    }

    pub(in crate::grpc) fn cluster(name: &str, project: &str, zone: &str, id: &str) -> Self {
        Self::of(name, project, zone, "/clusters/", id)
    }

    pub(super) fn operation(name: &str, project: &str, zone: &str, id: &str) -> Self {
        Self::of(name, project, zone, "/operations/", id)
    }

    fn of(name: &str, project: &str, zone: &str, collection: &str, id: &str) -> Self {
        let parts = format!("projects/{project}/locations/{zone}{collection}{id}");
        if name.is_empty() {
            return Self { name: parts, conflict: false };
        }
        // Some clients send both.
        let conflict = name != parts && [project, zone, id].iter().any(|part| !part.is_empty());
        Self { name: name.to_owned(), conflict }
    }

    pub(super) async fn as_location(&self, call: &IdentifiedCall<'_>) -> Result<LocationName, KmsError> {
        self.located(call, &self.name).await
    }

    pub(in crate::grpc) async fn as_cluster(
        &self,
        call: &IdentifiedCall<'_>,
    ) -> Result<ClusterName, KmsError> {
        let parts = self.name.rsplit_once("/clusters/");
        let (parent, id) =
            parts.ok_or_else(|| self.is_no("projects/PROJECT/locations/LOCATION/clusters/CLUSTER"))?;
        Ok(ClusterName { location: self.located(call, parent).await?, cluster: id.parse()? })
    }

    pub(super) async fn as_operation(
        &self,
        call: &IdentifiedCall<'_>,
    ) -> Result<ClusterOperationName, KmsError> {
        let parts = self.name.rsplit_once("/operations/");
        let (parent, id) =
            parts.ok_or_else(|| self.is_no("projects/PROJECT/locations/LOCATION/operations/OPERATION"))?;
        Ok(ClusterOperationName { location: self.located(call, parent).await?, operation: id.parse()? })
    }

    /// The project of a list, and where in it; none: anywhere.
    pub(super) async fn parent_of_list(
        &self,
        call: &IdentifiedCall<'_>,
    ) -> Result<(ProjectId, Option<LocationName>), KmsError> {
        match self.split(&self.name)? {
            (project, EVERYWHERE) => Ok((call.keyservice().project_id(project).await?, None)),
            _ => {
                let location = self.as_location(call).await?;
                Ok((location.project.clone(), Some(location)))
            }
        }
    }

    /// The project may be a number.
    async fn located(&self, call: &IdentifiedCall<'_>, parent: &str) -> Result<LocationName, KmsError> {
        let (project, location) = self.split(parent)?;
        Ok(LocationName {
            project: call.keyservice().project_id(project).await?,
            location: location.parse()?,
        })
    }

    fn split<'n>(&self, parent: &'n str) -> Result<(&'n str, &'n str), KmsError> {
        if self.conflict {
            let text = "The request names two things: one whole, and another one by project, zone and id. Name one of them.";
            return Err(KmsError::invalid(text));
        }
        let parts = parent.strip_prefix("projects/").and_then(|rest| rest.split_once("/locations/"));
        parts.ok_or_else(|| self.is_no("projects/PROJECT/locations/LOCATION"))
    }

    fn is_no(&self, wanted: &str) -> KmsError {
        let shown: String = self.name.chars().take(200).collect();
        KmsError::invalid(format!("{shown:?} is not {wanted}."))
    }
}
