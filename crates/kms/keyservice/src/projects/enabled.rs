use keystead_model::ErrorClass;
use serde::{Deserialize, Serialize};

use crate::{Detail, KeyService, KmsError, Resource, record_name};

/// APIs that a project can switch on and off; every other one is always on.
const SWITCHED: [&str; 2] = ["cloudkms.googleapis.com", "container.googleapis.com"];

/// Whether an API is on in a project. No record: it is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    pub(crate) enabled: bool,
}

impl KeyService {
    /// Refuses the call when the API is off in the project of its target.
    pub(crate) async fn require_enabled_service(
        &self,
        api: &'static str,
        target: &Resource,
    ) -> Result<(), KmsError> {
        let Some(project) = target.project().filter(|_| SWITCHED.contains(&api)) else { return Ok(()) };
        let record = record_name::service(project, api);
        let read_after = self.services.epoch();
        let state = match self.services.get(&record) {
            Some(state) => state,
            None => {
                let stored = self.read::<ServiceState>(&record).await?;
                let state =
                    std::sync::Arc::new(stored.map_or(ServiceState { enabled: false }, |it| it.value));
                self.services.keep(&record, &state, read_after);
                state
            }
        };
        if state.enabled {
            return Ok(());
        }
        // gcloud offers to enable the API when it reads this reason.
        Err(KmsError::new(
            ErrorClass::Denied,
            format!(
                "{api} has not been used in project {project} before or it is disabled. Enable it with `gcloud services enable {api} \
                 --project {project}`, then retry."
            ),
        )
        .with(Detail::ErrorInfo {
            reason: "SERVICE_DISABLED".to_owned(),
            domain: "googleapis.com".to_owned(),
            metadata: [
                ("service".to_owned(), api.to_owned()),
                ("consumer".to_owned(), format!("projects/{project}")),
            ]
            .into(),
        }))
    }
}
