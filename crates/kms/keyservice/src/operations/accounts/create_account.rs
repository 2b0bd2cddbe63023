use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::{ErrorClass, ProjectId, ProjectName, to_microseconds};
use keystead_store::Batch;

use super::update_account::check_texts;
use crate::records::account_email::{is_account_id, own};
use crate::records::{encode, record_name};
use crate::{
    AccountName, Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource, ServiceAccount,
};

/// Makes a service account. An address is given once: bindings that name it would count for the next account too.
pub struct CreateServiceAccount {
    /// The project.
    pub project: ProjectId,
    /// What stands before the `@`.
    pub account_id: String,
    /// A name for people. Nothing depends on it.
    pub display_name: String,
    /// A text for people. Nothing depends on it.
    pub description: String,
}

impl Operation for CreateServiceAccount {
    type Output = ServiceAccount;

    fn method(&self) -> Method {
        Method { service: "iam.googleapis.com", name: "CreateServiceAccount", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServiceAccountsCreate)
    }

    fn target(&self) -> Resource {
        Resource::Project(ProjectName { project: self.project.clone() })
    }

    fn describe(&self) -> SafeFields {
        let id = Some(self.account_id.as_str()).filter(|it| is_account_id(it));
        SafeFields::new().with_some("accountId", id)
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ServiceAccount, KmsError> {
        let service = authorised.service();
        let CreateServiceAccount { project, account_id, display_name, description } = authorised.command();
        if service.find_project(project).await?.is_none() {
            return Err(KmsError::not_found("Project", project));
        }
        if !is_account_id(account_id) {
            return Err(KmsError::invalid(
                "The account id has 6 to 30 lower-case letters, digits and hyphens, a letter first, no hyphen last.",
            ));
        }
        check_texts(display_name, description)?;
        let account = ServiceAccount {
            project: project.clone(),
            email: own(account_id, project),
            unique_id: draw_unique_id(service)?,
            display_name: display_name.clone(),
            description: description.clone(),
            disabled: false,
            create_time: to_microseconds(authorised.now()),
        };
        let name = AccountName::own(project.clone(), account.email.clone());
        let batch = Batch::default()
            .create(name.record()?, encode(&account)?)
            .create(record_name::service_account_email(&account.email), encode(&account.unique_id)?);
        authorised.outcome().resource = Some(name.resource().to_string().into());
        match authorised.commit(batch).await {
            Ok(_) => Ok(account),
            Err(error) if error.class() == ErrorClass::AlreadyExists => {
                let text = format!(
                    "Service account {} already exists, or existed: an address is not given to another account.",
                    account.email
                );
                Err(KmsError::new(ErrorClass::AlreadyExists, text))
            }
            Err(error) => Err(error),
        }
    }
}

/// 21 digits, as Google's. That they are unique rests on 69 random bits.
fn draw_unique_id(service: &KeyService) -> Result<String, KmsError> {
    Ok(format!("1{:020}", u128::from_be_bytes(service.random_bytes()?) % 10_u128.pow(20)))
}

#[cfg(test)]
mod tests;
