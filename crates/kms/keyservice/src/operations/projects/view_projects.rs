use keystead_iam::Permission;
use keystead_model::listing::{issue_token, read_token};
use keystead_model::{ProjectId, ProjectName};

use crate::records::{decode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Project, Resource};

/// Projects on one page, and records that are read for it at once.
const MAX_PAGE: usize = 500;

/// Reads a project.
pub struct GetProject {
    /// Its id; see [`crate::KeyService::project_id`] for a number.
    pub id: ProjectId,
}

/// Lists the projects that the caller may see, in the order of their ids. Whoever is known may ask.
pub struct ListProjects {
    /// How many; 0: as many as a page can have.
    pub page_size: usize,
    /// What the page before gave; empty: the first page.
    pub page_token: String,
}

/// A page of projects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectPage {
    /// In the order of their ids.
    pub projects: Vec<Project>,
    /// Where the next page begins; none: this is the last.
    pub next_page_token: Option<String>,
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

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Project, KmsError> {
        let id = &authorised.command().id;
        let project = authorised.service().find_project(id).await?;
        Ok(Project::clone(&*project.ok_or_else(|| KmsError::not_found("Project", id))?))
    }
}

impl Operation for ListProjects {
    type Output = ProjectPage;

    fn method(&self) -> Method {
        let service = "cloudresourcemanager.googleapis.com";
        Method { service, name: "ListProjects", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ProjectPage, KmsError> {
        let ListProjects { page_size, page_token } = authorised.command();
        let page_size = if *page_size == 0 { MAX_PAGE } else { (*page_size).min(MAX_PAGE) };
        let bound_to = ["projects".to_owned()];
        let mut after = match page_token.as_str() {
            "" => String::new(),
            token => format!("{}{}", record_name::PROJECTS, read_token(token, &bound_to)?),
        };
        let mut projects: Vec<Project> = Vec::new();
        loop {
            let records = authorised.service().store.list(record_name::PROJECTS, &after, MAX_PAGE).await?;
            for record in &records {
                let project: Project = decode(&record.name, &record.value)?;
                let name = Resource::Project(project.name());
                if !authorised.service().allowed(authorised.call(), Permission::ProjectsGet, &name).await? {
                    continue;
                }
                if projects.len() == page_size {
                    let next_page_token =
                        projects.last().map(|project| issue_token(project.id.as_str(), &bound_to));
                    return Ok(ProjectPage { projects, next_page_token });
                }
                projects.push(project);
                // Decided here, one by one, because there is nothing to decide about the list.
                authorised.outcome().granted = Some(true);
            }
            match records.last() {
                Some(last) if records.len() == MAX_PAGE => after.clone_from(&last.name),
                _ => return Ok(ProjectPage { projects, next_page_token: None }),
            }
        }
    }
}
