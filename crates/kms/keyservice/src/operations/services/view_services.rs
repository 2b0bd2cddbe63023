use keystead_iam::Permission;
use keystead_model::{ProjectId, ProjectName};

use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource, ServiceApi};

/// An API in a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// The API.
    pub api: ServiceApi,
    /// The project.
    pub project: ProjectId,
    /// The number of the project, which `name` and `parent` have in place of its id.
    pub project_number: u64,
    /// Whether its calls are served.
    pub enabled: bool,
}

/// Says whether one API is on in a project.
pub struct GetService {
    /// The project.
    pub project: ProjectId,
    /// The API.
    pub api: ServiceApi,
}

/// Lists the APIs of a project, in the order of their names. There are so few that there is one page.
pub struct ListServices {
    /// The project.
    pub project: ProjectId,
    /// Only those that are on, or off.
    pub enabled: Option<bool>,
}

impl Operation for GetService {
    type Output = ServiceView;

    fn method(&self) -> Method {
        Method { service: "serviceusage.googleapis.com", name: "GetService", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServicesGet)
    }

    fn target(&self) -> Resource {
        Resource::Project(ProjectName { project: self.project.clone() })
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ServiceView, KmsError> {
        let GetService { project, api } = authorised.command();
        authorised.service().view_service(project, *api).await
    }
}

impl Operation for ListServices {
    type Output = Vec<ServiceView>;

    fn method(&self) -> Method {
        Method { service: "serviceusage.googleapis.com", name: "ListServices", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServicesList)
    }

    fn target(&self) -> Resource {
        Resource::Project(ProjectName { project: self.project.clone() })
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<ServiceView>, KmsError> {
        let ListServices { project, enabled } = authorised.command();
        let mut views = Vec::new();
        for api in ServiceApi::ALL {
            let view = authorised.service().view_service(project, api).await?;
            if enabled.is_none_or(|wanted| wanted == view.enabled) {
                views.push(view);
            }
        }
        Ok(views)
    }
}

impl KeyService {
    async fn view_service(&self, id: &ProjectId, api: ServiceApi) -> Result<ServiceView, KmsError> {
        let project = self.find_project(id).await?.ok_or_else(|| KmsError::not_found("Project", id))?;
        let enabled = self.is_enabled(id, api).await?;
        Ok(ServiceView { api, project: project.id.clone(), project_number: project.number, enabled })
    }
}
