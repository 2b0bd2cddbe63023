use std::sync::Arc;

use keystead_model::{ClusterHost, ClusterHostName, Principal, ProjectId, ProjectName};

use crate::records::account_email::{self, AccountEmail};
use crate::records::record_name;
use crate::{KeyService, KmsError, Resource, ServiceAccount};

/// Longest address that is looked at, in bytes: RFC 5321's limit of a path, less its brackets.
const MAX_EMAIL_LEN: usize = 254;

/// A service account as a request names it: `projects/PROJECT/serviceAccounts/EMAIL`. Made by
/// [`KeyService::account_name`] only, so that an address is read only in the account's own project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountName {
    project: ProjectId,
    email: String,
    /// Whether an account of that address can be in that project.
    is_possible: bool,
}

impl AccountName {
    pub(crate) fn own(project: ProjectId, email: String) -> Self {
        Self { project, email, is_possible: true }
    }

    /// What its policy is of.
    pub fn resource(&self) -> Resource {
        let project = ProjectName { project: self.project.clone() };
        Resource::ServiceAccount { project, email: self.email.clone() }
    }

    /// The address, under which its records are; `NotFound` if there can be no such account in that project.
    pub(crate) fn email(&self) -> Result<&str, KmsError> {
        if self.is_possible { Ok(&self.email) } else { Err(self.not_found()) }
    }

    pub(crate) fn record(&self) -> Result<String, KmsError> {
        Ok(record_name::service_account(&self.project, self.email()?))
    }

    pub(crate) fn not_found(&self) -> KmsError {
        KmsError::not_found("Service account", &self.email)
    }
}

impl KeyService {
    /// Reads `projects/PROJECT/serviceAccounts/EMAIL`, where PROJECT may be `-`, as gcloud sends it, an id or a number.
    /// Whether there is such an account, or such a project, is asked after the permission.
    pub async fn account_name(&self, text: &str) -> Result<AccountName, KmsError> {
        let parts = text.strip_prefix("projects/").and_then(|rest| rest.split_once("/serviceAccounts/"));
        let Some((given, email)) = parts.filter(|(_, email)| may_be_email(email)) else {
            let shown: String = text.chars().take(200).collect();
            return Err(KmsError::invalid(format!(
                "{shown:?} is not the name of a service account: projects/PROJECT/serviceAccounts/EMAIL."
            )));
        };
        let own = self.account_project(email).await?;
        let project = match given {
            "-" => own.clone(),
            given => self.project_id(given).await?,
        };
        let is_possible = project == own && AccountEmail::parse(email).is_some();
        Ok(AccountName { project, email: email.to_owned(), is_possible })
    }

    /// The project that an account of that address belongs to, whether or not there is one.
    async fn account_project(&self, email: &str) -> Result<ProjectId, KmsError> {
        match AccountEmail::parse(email) {
            Some(AccountEmail::Own { project }) => Ok(project),
            Some(AccountEmail::Cluster { project_number }) => self.project_of_number(project_number).await,
            Some(AccountEmail::Host(host)) => Ok(host.cluster.location.project),
            None => Ok(ProjectId::of_nobody(None)),
        }
    }

    /// The account of an address. The one of a project's clusters, and those of their hosts, exist without a record of their own.
    pub(crate) async fn find_account(&self, email: &str) -> Result<Option<Arc<ServiceAccount>>, KmsError> {
        let of_clusters = match AccountEmail::parse(email) {
            None => return Ok(None),
            Some(AccountEmail::Host(host)) => return self.find_host_account(&host).await,
            Some(AccountEmail::Own { .. }) => false,
            Some(AccountEmail::Cluster { .. }) => true,
        };
        let project = self.account_project(email).await?;
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

    async fn find_host_account(
        &self,
        name: &ClusterHostName,
    ) -> Result<Option<Arc<ServiceAccount>>, KmsError> {
        let record = record_name::cluster_host(name);
        if let Some(account) = self.remembered.accounts.get(&record) {
            return Ok(Some(account));
        }
        let read_after = self.remembered.accounts.epoch();
        let Some(host) = self.read::<ClusterHost>(&record).await?.map(|stored| stored.value) else {
            return Ok(None);
        };
        let account = Arc::new(ServiceAccount {
            project: name.cluster.location.project.clone(),
            email: account_email::host(name),
            // Never used again: a host that joins anew gets another.
            unique_id: name.host.as_str().to_owned(),
            display_name: format!("Agent of host {} of cluster {}", host.node, name.cluster.cluster),
            description: String::new(),
            disabled: false,
            create_time: host.create_time,
        });
        // It authenticates with every report. A change of the host drops this.
        self.remembered.accounts.keep(&record, &account, read_after);
        Ok(Some(account))
    }

    /// Where a credential of `principal` belongs, and the account if it is one that exists. The place of an account that does
    /// not exist is where it would be, so that the permission is asked first whatever there is.
    pub(crate) async fn credential_owner(
        &self,
        principal: &Principal,
    ) -> Result<(Resource, Option<Arc<ServiceAccount>>), KmsError> {
        match principal {
            Principal::User(_) => Ok((Resource::Server, None)),
            Principal::ServiceAccount(email) => {
                let project = ProjectName { project: self.account_project(email).await? };
                let owner = Resource::ServiceAccount { project, email: email.clone() };
                Ok((owner, self.find_account(email).await?))
            }
        }
    }

    /// Refuses a principal that is a service account which does not exist. Only after a decision.
    pub(crate) async fn require_principal(&self, principal: &Principal) -> Result<(), KmsError> {
        match principal {
            Principal::ServiceAccount(email) if self.find_account(email).await?.is_none() => {
                Err(KmsError::not_found("Service account", email))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a text has the characters and the length of an address or of a unique id.
fn may_be_email(text: &str) -> bool {
    let of_email = |it: u8| it.is_ascii_alphanumeric() || b"@._-+".contains(&it);
    (1..=MAX_EMAIL_LEN).contains(&text.len()) && text.bytes().all(of_email)
}
