use keystead_iam::Permission;
use keystead_model::listing::{issue_token, read_token};
use keystead_model::{ProjectId, ProjectName};

use crate::records::account_email::own;
use crate::records::{decode, record_name};
use crate::{AccountName, Authorised, KmsError, Method, MethodKind, Operation, Resource, ServiceAccount};

/// Accounts on one page, as IAM has it.
const MAX_PAGE: usize = 100;

/// Reads a service account.
pub struct GetServiceAccount {
    /// The account.
    pub name: AccountName,
}

/// Lists the service accounts of a project that somebody made, in the order of their addresses. The account of its clusters
/// is not among them: it is everywhere.
pub struct ListServiceAccounts {
    /// The project.
    pub project: ProjectId,
    /// How many; 0: as many as a page can have.
    pub page_size: usize,
    /// What the page before gave; empty: the first page.
    pub page_token: String,
}

/// A page of service accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPage {
    /// In the order of their addresses.
    pub accounts: Vec<ServiceAccount>,
    /// Where the next page begins; none: this is the last.
    pub next_page_token: Option<String>,
}

impl Operation for GetServiceAccount {
    type Output = ServiceAccount;

    fn method(&self) -> Method {
        Method { service: "iam.googleapis.com", name: "GetServiceAccount", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServiceAccountsGet)
    }

    fn target(&self) -> Resource {
        self.name.resource()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ServiceAccount, KmsError> {
        let name = &authorised.command().name;
        let account = authorised.service().find_account(name.email()?).await?;
        Ok(ServiceAccount::clone(&*account.ok_or_else(|| name.not_found())?))
    }
}

impl Operation for ListServiceAccounts {
    type Output = AccountPage;

    fn method(&self) -> Method {
        Method { service: "iam.googleapis.com", name: "ListServiceAccounts", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServiceAccountsList)
    }

    fn target(&self) -> Resource {
        Resource::Project(ProjectName { project: self.project.clone() })
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<AccountPage, KmsError> {
        let ListServiceAccounts { project, page_size, page_token } = authorised.command();
        if authorised.service().find_project(project).await?.is_none() {
            return Err(KmsError::not_found("Project", project));
        }
        let page_size = if *page_size == 0 { MAX_PAGE } else { (*page_size).min(MAX_PAGE) };
        let bound_to = ["serviceAccounts".to_owned(), project.to_string()];
        let after = match page_token.as_str() {
            "" => String::new(),
            token => record_name::service_account(project, &own(&read_token(token, &bound_to)?, project)),
        };
        let prefix = record_name::service_accounts(project);
        // One more than the page, to see whether there is a next one; and one more for the account of the clusters.
        let records = authorised.service().store.list(&prefix, &after, page_size + 2).await?;
        let mut accounts = Vec::new();
        for record in &records {
            let account: ServiceAccount = decode(&record.name, &record.value)?;
            if !account.is_of_clusters() {
                accounts.push(account);
            }
        }
        let more = accounts.len() > page_size;
        accounts.truncate(page_size);
        let last = accounts.last().filter(|_| more);
        let next_page_token =
            last.and_then(|account| account.email.split_once('@')).map(|(id, _)| issue_token(id, &bound_to));
        Ok(AccountPage { accounts, next_page_token })
    }
}
