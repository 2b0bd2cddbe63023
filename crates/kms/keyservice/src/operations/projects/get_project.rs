use keystead_iam::Permission;
use keystead_model::{ProjectId, ProjectName};

use crate::{Act, KmsError, Method, MethodKind, Operation, Project, Resource};

/// Reads a project.
pub struct GetProject {
    /// Its id; see [`crate::KeyService::project_id`] for a number.
    pub id: ProjectId,
}

impl Operation for GetProject {
    type Output = Project;

    fn method(&self) -> Method {
        Method {
            service: "cloudresourcemanager.googleapis.com",
            name: "GetProject",
            kind: MethodKind::AdminRead,
        }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ProjectsGet)
    }

    fn target(&self) -> Resource {
        Resource::Project(ProjectName { project: self.id.clone() })
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<Project, KmsError> {
        let id = &act.command().id;
        let project = act.service().find_project(id).await?;
        Ok(Project::clone(&*project.ok_or_else(|| KmsError::not_found("Project", id))?))
    }
}
