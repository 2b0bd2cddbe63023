//! Projects and the APIs that are on in them.

use std::sync::Arc;

use keystead_model::{ErrorClass, ProjectId};

use crate::records::record_name;
use crate::{Detail, KeyService, KmsError, Project, Resource, ServiceApi};

impl KeyService {
    /// The project of that id.
    pub(crate) async fn find_project(&self, id: &ProjectId) -> Result<Option<Arc<Project>>, KmsError> {
        self.cached(&self.remembered.projects, &record_name::project(id)).await
    }

    /// The id that a caller means with `ID` or `NUMBER`: Google's APIs take both. A number that is not there becomes a project
    /// that is not there, so that the permission is asked first whatever there is.
    pub async fn project_id(&self, text: &str) -> Result<ProjectId, KmsError> {
        let number: Option<u64> = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        match number {
            Some(number) => self.project_of_number(number).await,
            None => Ok(text.parse()?),
        }
    }

    pub(super) async fn project_of_number(&self, number: u64) -> Result<ProjectId, KmsError> {
        let record = record_name::project_number(number);
        let id = self.cached(&self.remembered.project_numbers, &record).await?;
        Ok(id.map_or_else(|| ProjectId::of_nobody(Some(number)), |id| ProjectId::clone(&id)))
    }

    /// Refuses the call when the API is off in the project of its target. Only after a decision: it says that the project
    /// exists.
    pub(crate) async fn require_enabled_service(
        &self,
        api: &'static str,
        target: &Resource,
    ) -> Result<(), KmsError> {
        let Some(id) = target.project() else { return Ok(()) };
        let Some(api) = api.parse().ok().filter(|api: &ServiceApi| api.can_be_off()) else { return Ok(()) };
        if self.is_enabled(id, api).await? {
            return Ok(());
        }
        let project = self.find_project(id).await?.ok_or_else(|| KmsError::not_found("Project", id))?;
        // gcloud offers to enable the API when it finds this very text; the address in it is part of that text, and nothing
        // is there.
        let (name, title, number) = (api.name(), api.title(), project.number);
        let text = format!(
            "{title} has not been used in project {number} before or it is disabled. Enable it by visiting \
             https://console.developers.google.com/apis/api/{name}/overview?project={number} then retry. If you enabled this \
             API recently, wait a few minutes for the action to propagate to our systems and retry."
        );
        Err(KmsError::new(ErrorClass::Denied, text).with(Detail::ErrorInfo {
            reason: "SERVICE_DISABLED".to_owned(),
            domain: "googleapis.com".to_owned(),
            metadata: [
                ("service".to_owned(), name.to_owned()),
                ("serviceTitle".to_owned(), title.to_owned()),
                ("consumer".to_owned(), format!("projects/{number}")),
                ("containerInfo".to_owned(), number.to_string()),
            ]
            .into(),
        }))
    }

    /// Whether an API is on in a project, from memory or with one read.
    pub(crate) async fn is_enabled(&self, project: &ProjectId, api: ServiceApi) -> Result<bool, KmsError> {
        if !api.can_be_off() {
            return Ok(true);
        }
        let state =
            self.cached(&self.remembered.services, &record_name::service(project, api.name())).await?;
        Ok(state.is_some_and(|state| state.enabled))
    }
}
