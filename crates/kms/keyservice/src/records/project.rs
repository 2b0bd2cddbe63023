use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keystead_model::{ErrorClass, ProjectId, ProjectName};
use serde::{Deserialize, Serialize};

use super::{account_email, record_name};
use crate::{KeyService, KmsError};

/// A project: what service accounts, key rings and policies belong to. It cannot be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Its id, chosen by who made it.
    pub id: ProjectId,
    /// Its number: 12 digits, chosen by the server, never used for another.
    pub number: u64,
    /// For people.
    pub display_name: String,
    /// When it was made.
    pub create_time: Timestamp,
    /// The only free data about it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Project {
    /// `projects/ID`.
    pub fn name(&self) -> ProjectName {
        ProjectName { project: self.id.clone() }
    }

    /// The address of the service account that the project's clusters use.
    pub fn cluster_account(&self) -> String {
        account_email::cluster(self.number)
    }
}

impl KeyService {
    /// The project of that id.
    pub(crate) async fn find_project(&self, id: &ProjectId) -> Result<Option<Arc<Project>>, KmsError> {
        self.cached(&self.remembered.projects, &record_name::project(id)).await
    }

    /// The id that a caller means with `ID` or `NUMBER`: Google's APIs take both. A number that is not there is refused in
    /// the words of a missing permission, whoever asks.
    pub async fn project_id(&self, text: &str) -> Result<ProjectId, KmsError> {
        let number: Option<u64> = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        let Some(number) = number else { return Ok(text.parse()?) };
        let record = record_name::project_number(number);
        match self.cached(&self.remembered.project_numbers, &record).await? {
            Some(id) => Ok(ProjectId::clone(&id)),
            None => Err(KmsError::new(
                ErrorClass::Denied,
                format!("Permission denied on resource project {number} (or it may not exist)."),
            )),
        }
    }
}
