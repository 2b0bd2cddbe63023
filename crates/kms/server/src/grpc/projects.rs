//! Projects: Resource Manager as gcloud knows it (v1) and as the client libraries know it (v3).

mod filter;
mod v1;
mod v3;

pub(super) use v1::created as created_v1;

use keystead_keyservice::{KmsError, Method, MethodKind, Resource};
use keystead_model::{ProjectId, ProjectName};

use super::call::IdentifiedCall;

const fn reads(name: &'static str) -> Method {
    Method { service: "cloudresourcemanager.googleapis.com", name, kind: MethodKind::AdminRead }
}

const fn writes(name: &'static str) -> Method {
    Method { service: "cloudresourcemanager.googleapis.com", name, kind: MethodKind::AdminWrite }
}

/// `projects/ID` and `projects/NUMBER`.
pub(super) async fn id_of(call: &IdentifiedCall<'_>, name: &str) -> Result<ProjectId, KmsError> {
    let text = name.strip_prefix("projects/").ok_or_else(|| {
        KmsError::invalid("The name is not one of a project: projects/ID or projects/NUMBER.")
    })?;
    call.keyservice().project_id(text).await
}

/// What a policy is of.
async fn resource(call: &IdentifiedCall<'_>, name: &str) -> Result<Resource, KmsError> {
    Ok(Resource::Project(ProjectName { project: id_of(call, name).await? }))
}

/// The next page, in protobuf's words.
pub(super) fn page_size(size: i32) -> Result<usize, KmsError> {
    usize::try_from(size)
        .map_err(|_| KmsError::invalid(format!("page_size must not be negative, but is {size}.")))
}
