use std::sync::Arc;

use keystead_model::{ErrorClass, Principal, ProjectId, ProjectName};

use crate::records::account_email::{self, AccountEmail};
use crate::records::record_name;
use crate::{KeyService, KmsError, Resource, ServiceAccount};

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

    /// The account of an address. The one of a project's clusters exists without a record.
    pub(crate) async fn find_account(&self, email: &str) -> Result<Option<Arc<ServiceAccount>>, KmsError> {
        let (project, of_clusters) = match AccountEmail::parse(email) {
            None => return Ok(None),
            Some(AccountEmail::Own { project }) => (project, false),
            Some(AccountEmail::Cluster { project_number }) => {
                let record = record_name::project_number(project_number);
                match self.cached(&self.remembered.project_numbers, &record).await? {
                    Some(project) => (ProjectId::clone(&project), true),
                    None => return Ok(None),
                }
            }
        };
        let record = record_name::service_account(&project, email);
        let read_after = self.remembered.accounts.epoch();
        if let Some(account) = self.cached(&self.remembered.accounts, &record).await? {
            return Ok(Some(account));
        }
        if !of_clusters {
            return Ok(None);
        }
        let Some(project) = self.find_project(&project).await? else { return Ok(None) };
        let account = Arc::new(ServiceAccount {
            project: project.id.clone(),
            email: account_email::cluster(project.number),
            unique_id: project.number.to_string(),
            display_name: "Service account of this project's clusters".to_owned(),
            description: String::new(),
            disabled: false,
            create_time: project.create_time,
        });
        // The plugin authenticates as it with every call. Its first change writes the record, and so drops this.
        self.remembered.accounts.keep(&record, &account, read_after);
        Ok(Some(account))
    }

    /// Where a credential of `principal` belongs: the account, or for a person the server. What does not exist is refused
    /// in the words of a missing permission, whoever asks.
    pub(crate) async fn credential_owner(
        &self,
        principal: &Principal,
    ) -> Result<(Resource, Option<Arc<ServiceAccount>>), KmsError> {
        match principal {
            Principal::User(_) => Ok((Resource::Server, None)),
            Principal::ServiceAccount(email) => match self.find_account(email).await? {
                Some(account) => Ok((account.resource(), Some(account))),
                None => Err(KmsError::new(
                    ErrorClass::Denied,
                    format!("Permission denied on service account {email} (or it may not exist)."),
                )),
            },
        }
    }
}
