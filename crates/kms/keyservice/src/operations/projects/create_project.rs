use std::collections::BTreeMap;

use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::key_settings::check_labels;
use keystead_model::{Binding, ErrorClass, Policy, ProjectId, ProjectName, to_microseconds};
use keystead_store::Batch;

use crate::records::{encode, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Project, Resource};

/// Project numbers have 12 digits, as Google's.
const FIRST_NUMBER: u64 = 100_000_000_000;
const NUMBERS: u64 = 900_000_000_000;
/// Longest display name, in characters, as Resource Manager has it.
const MAX_DISPLAY_NAME: usize = 30;
/// How often a number is drawn: of a million projects one draw in 900,000 hits a taken one.
const DRAWS: usize = 4;

/// Makes a project. Who makes it is its owner. Cloud KMS and Kubernetes Engine are off in it until they are enabled.
pub struct CreateProject {
    /// Its id.
    pub id: ProjectId,
    /// A name for people; empty: its id.
    pub display_name: String,
    /// Labels, as the caller chose them.
    pub labels: BTreeMap<String, String>,
}

impl Operation for CreateProject {
    type Output = Project;

    fn method(&self) -> Method {
        Method {
            service: "cloudresourcemanager.googleapis.com",
            name: "CreateProject",
            kind: MethodKind::AdminWrite,
        }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ProjectsCreate)
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with("projectId", self.id.as_str())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Project, KmsError> {
        let service = authorised.service();
        let CreateProject { id, display_name, labels } = authorised.command();
        check_labels(labels)?;
        if display_name.chars().count() > MAX_DISPLAY_NAME {
            let text = format!("The name of a project has at most {MAX_DISPLAY_NAME} characters.");
            return Err(KmsError::invalid(text));
        }
        let id = id.clone();
        let mut project = Project {
            id: id.clone(),
            number: 0,
            display_name: if display_name.is_empty() { id.to_string() } else { display_name.clone() },
            create_time: to_microseconds(authorised.now()),
            labels: labels.clone(),
        };
        let owner = Binding {
            role: "roles/owner".to_owned(),
            members: vec![authorised.call().caller().principal.to_string()],
            condition: None,
        };
        let policy = Policy { version: 1, bindings: vec![owner] };
        let name = ProjectName { project: id.clone() }.to_string();
        authorised.outcome().resource = Some(name.clone().into());
        for _ in 0..DRAWS {
            project.number = draw_number(service)?;
            let batch = with_project(Batch::default(), &project, &policy)?;
            match authorised.commit(batch).await {
                Ok(_) => return Ok(project),
                Err(error) if error.class() != ErrorClass::AlreadyExists => return Err(error),
                Err(_) => {}
            }
            if service.store.get(&record_name::project(&id)).await?.is_some() {
                return Err(KmsError::already_exists("Project", id));
            }
        }
        Err(KmsError::new(ErrorClass::Unavailable, "No free project number was found; try again."))
    }
}

/// Adds the records of a new project.
pub(crate) fn with_project(batch: Batch, project: &Project, policy: &Policy) -> Result<Batch, KmsError> {
    Ok(batch
        .create(record_name::project(&project.id), encode(project)?)
        .create(record_name::project_number(project.number), encode(&project.id)?)
        .create(record_name::policy(&project.name().to_string()), encode(policy)?))
}

fn draw_number(service: &KeyService) -> Result<u64, KmsError> {
    // That some numbers are likelier by a ten-millionth does not matter: they are no secret.
    Ok(FIRST_NUMBER + u64::from_be_bytes(service.random_bytes()?) % NUMBERS)
}

#[cfg(test)]
mod tests;
