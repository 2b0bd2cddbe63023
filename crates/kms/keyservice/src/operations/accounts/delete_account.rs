use keystead_iam::Permission;
use keystead_model::ErrorClass;
use keystead_store::{Batch, Expect, Write};

use crate::records::record_name;
use crate::records::service_account_key::MAX_LISTED;
use crate::{AccountName, Authorised, KmsError, Method, MethodKind, Operation, Resource, ServiceAccount};

/// Deletes a service account and its keys. Its address is not given to another.
pub struct DeleteServiceAccount {
    /// The account.
    pub name: AccountName,
}

impl Operation for DeleteServiceAccount {
    type Output = ();

    fn method(&self) -> Method {
        Method { service: "iam.googleapis.com", name: "DeleteServiceAccount", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServiceAccountsDelete)
    }

    fn target(&self) -> Resource {
        self.name.resource()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let (service, name) = (authorised.service(), authorised.command().name.clone());
        let account = service.find_account(name.email()?).await?.ok_or_else(|| name.not_found())?;
        if account.is_of_clusters() {
            let text = format!(
                "{} is the account of the project's clusters, which every project has. Disable it instead.",
                account.email
            );
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        service.refuse_loss_of_administrator(&account.email).await?;
        let stored =
            service.read::<ServiceAccount>(&name.record()?).await?.ok_or_else(|| name.not_found())?;
        let mut batch = Batch::default().delete(name.record()?, stored.revision);
        // A key that is made meanwhile is of no use without the account.
        let keys = record_name::service_account_keys(&account.email);
        for entry in service.store.list(&keys, "", MAX_LISTED).await? {
            batch.writes.push(Write { name: entry.name, expect: Expect::Any, value: None });
        }
        let policy = record_name::policy(&name.resource().to_string());
        if service.store.get(&policy).await?.is_some() {
            batch.writes.push(Write { name: policy, expect: Expect::Any, value: None });
        }
        authorised.commit(batch).await?;
        Ok(())
    }
}
