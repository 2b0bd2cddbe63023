use keystead_model::{ErrorClass, ProjectId, ProjectName};

use crate::records::account_email::AccountEmail;
use crate::records::record_name;
use crate::{KeyService, KmsError, Resource};

/// A service account as a request names it: `projects/PROJECT/serviceAccounts/EMAIL`. Made by
/// [`KeyService::account_name`] only, so that the project is always the account's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountName {
    pub(crate) project: ProjectId,
    pub(crate) email: String,
}

impl AccountName {
    /// What its policy is of.
    pub fn resource(&self) -> Resource {
        let project = ProjectName { project: self.project.clone() };
        Resource::ServiceAccount { project, email: self.email.clone() }
    }

    pub(crate) fn record(&self) -> String {
        record_name::service_account(&self.project, &self.email)
    }

    pub(crate) fn not_found(&self) -> KmsError {
        KmsError::not_found("Service account", &self.email)
    }
}

impl KeyService {
    /// Reads `projects/PROJECT/serviceAccounts/EMAIL`, where PROJECT may be `-`, as gcloud sends it, an id or a number. An
    /// address that cannot be in that project is refused in the words of a missing permission, whoever asks.
    pub async fn account_name(&self, text: &str) -> Result<AccountName, KmsError> {
        let parts = text.strip_prefix("projects/").and_then(|rest| rest.split_once("/serviceAccounts/"));
        let Some((given, email)) = parts else {
            let shown: String = text.chars().take(200).collect();
            return Err(KmsError::invalid(format!(
                "{shown:?} is not the name of a service account: projects/PROJECT/serviceAccounts/EMAIL."
            )));
        };
        let own = match AccountEmail::parse(email) {
            Some(AccountEmail::Own { project }) => Some(project),
            Some(AccountEmail::Cluster { project_number }) => {
                let record = record_name::project_number(project_number);
                let project = self.cached(&self.remembered.project_numbers, &record).await?;
                project.map(|project| ProjectId::clone(&project))
            }
            None => None,
        };
        let fits = match (&own, given) {
            (_, "-") => true,
            (own, given) => *own == Some(self.project_id(given).await?),
        };
        own.filter(|_| fits).map(|project| AccountName { project, email: email.to_owned() }).ok_or_else(
            || {
                let shown: String = email.chars().take(200).collect();
                let text = format!("Permission denied on service account {shown} (or it may not exist).");
                KmsError::new(ErrorClass::Denied, text)
            },
        )
    }
}
