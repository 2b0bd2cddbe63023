use std::sync::Arc;

use jiff::Timestamp;
use keystead_crypto::sha256;
use keystead_model::{ErrorClass, Principal, ProjectId, ProjectName};
use serde::{Deserialize, Serialize};

use super::account_email::AccountEmail;
use super::{account_email, record_name};
use crate::{KeyService, KmsError, Resource};

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// Its project.
    pub project: ProjectId,
    /// Its address, which is its name.
    pub email: String,
    /// 21 digits; never used for another account, even of the same address. The account of a project's clusters has the
    /// project's number.
    pub unique_id: String,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// Nobody can authenticate as it.
    pub disabled: bool,
    /// When it was made; of the account of a project's clusters, when the project was.
    pub create_time: Timestamp,
}

impl ServiceAccount {
    /// `projects/P/serviceAccounts/EMAIL`.
    pub fn resource(&self) -> Resource {
        Resource::ServiceAccount {
            project: ProjectName { project: self.project.clone() },
            email: self.email.clone(),
        }
    }

    /// Changes with every change: what a writer names to be sure that nobody wrote in between.
    pub fn etag(&self) -> Vec<u8> {
        let Self { display_name, description, disabled, unique_id, .. } = self;
        let text = format!("{unique_id}\0{disabled}\0{display_name}\0{description}");
        sha256(text.as_bytes()).first_chunk::<8>().map(|etag| etag.to_vec()).unwrap_or_default()
    }

    /// Whether it is the account that the project's clusters use. It cannot be deleted.
    pub fn is_of_clusters(&self) -> bool {
        matches!(AccountEmail::parse(&self.email), Some(AccountEmail::Cluster { .. }))
    }
}

impl KeyService {
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
