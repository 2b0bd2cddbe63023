use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::{ErrorClass, ProjectId, ProjectName};
use keystead_store::Batch;

use super::ServiceView;
use crate::records::service_api::ServiceState;
use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource, ServiceApi};

/// Most APIs of one call, as Service Usage has it.
const MAX_APIS: usize = 20;

/// Switches APIs of a project on or off: all that are named or none. It counts from the next request on.
pub struct SwitchServices {
    /// The project.
    pub project: ProjectId,
    /// The APIs.
    pub apis: Vec<ServiceApi>,
    /// Whether it is to be on.
    pub enable: bool,
}

impl Operation for SwitchServices {
    type Output = Vec<ServiceView>;

    fn method(&self) -> Method {
        let name = match (self.enable, self.apis.len()) {
            (true, 1) => "EnableService",
            (true, _) => "BatchEnableServices",
            (false, _) => "DisableService",
        };
        Method { service: "serviceusage.googleapis.com", name, kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        Some(if self.enable { Permission::ServicesEnable } else { Permission::ServicesDisable })
    }

    fn target(&self) -> Resource {
        Resource::Project(ProjectName { project: self.project.clone() })
    }

    fn describe(&self) -> SafeFields {
        let names: Vec<String> = self.apis.iter().map(|api| api.name().to_owned()).collect();
        SafeFields::new().with("services", names)
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<ServiceView>, KmsError> {
        let SwitchServices { project: id, apis, enable } = authorised.command();
        let enable = *enable;
        let project =
            authorised.service().find_project(id).await?.ok_or_else(|| KmsError::not_found("Project", id))?;
        if apis.is_empty() || apis.len() > MAX_APIS {
            return Err(KmsError::invalid(format!("Name 1 to {MAX_APIS} services, not {}.", apis.len())));
        }
        if let Some(api) = apis.iter().find(|api| !enable && !api.can_be_off()) {
            return Err(KmsError::new(
                ErrorClass::FailedPrecondition,
                format!("Service {} cannot be disabled: projects are administered with it.", api.name()),
            ));
        }
        let mut apis = apis.clone();
        apis.sort_unstable();
        apis.dedup();
        let mut batch = Batch::default();
        for api in apis.iter().filter(|api| api.can_be_off()) {
            batch =
                batch.put(record_name::service(id, api.name()), encode(&ServiceState { enabled: enable })?);
        }
        let view = |api| ServiceView {
            api,
            project: project.id.clone(),
            project_number: project.number,
            enabled: enable,
        };
        let views = apis.iter().copied().map(view).collect();
        if !batch.writes.is_empty() {
            authorised.commit(batch).await?;
        }
        Ok(views)
    }
}
