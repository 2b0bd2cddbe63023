use keystead_model::{ErrorClass, ProjectId};
use serde::{Deserialize, Serialize};

use crate::records::record_name;
use crate::{Detail, KeyService, KmsError, Resource, ServiceApi};

/// Whether an API is on in a project. No record: it is off, if it can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    pub(crate) enabled: bool,
}

impl KeyService {
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
