use keystead_iam::Permission;
use keystead_model::ErrorClass;
use keystead_store::{Batch, Expect, Write};

use crate::records::encode;
use crate::{AccountName, Authorised, KmsError, Method, MethodKind, Operation, Resource, ServiceAccount};

/// Longest display name and longest description, in bytes, as IAM has them.
const MAX_DISPLAY_NAME: usize = 100;
const MAX_DESCRIPTION: usize = 256;

/// Changes what people read of a service account.
pub struct UpdateServiceAccount {
    /// The account.
    pub name: AccountName,
    /// The new text; none: as it is.
    pub display_name: Option<String>,
    /// The new text; none: as it is.
    pub description: Option<String>,
    /// The etag that was read; none: whatever is there.
    pub etag: Option<Vec<u8>>,
}

/// Lets nobody authenticate as a service account any more, or again. It counts from the next request on.
pub struct SwitchServiceAccount {
    /// The account.
    pub name: AccountName,
    /// Whether it is to be on.
    pub enable: bool,
}

impl Operation for UpdateServiceAccount {
    type Output = ServiceAccount;

    fn method(&self) -> Method {
        Method { service: "iam.googleapis.com", name: "PatchServiceAccount", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServiceAccountsUpdate)
    }

    fn target(&self) -> Resource {
        self.name.resource()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ServiceAccount, KmsError> {
        let UpdateServiceAccount { name, display_name, description, etag } = authorised.command();
        let name = name.clone();
        let (mut account, expect) = read(authorised, &name).await?;
        if etag.as_ref().is_some_and(|etag| *etag != account.etag()) {
            let text = "There were concurrent changes: the etag is not the service account's. Read it again and retry.";
            return Err(KmsError::new(ErrorClass::Aborted, text));
        }
        if let Some(text) = display_name {
            account.display_name.clone_from(text);
        }
        if let Some(text) = description {
            account.description.clone_from(text);
        }
        check_texts(&account.display_name, &account.description)?;
        write(authorised, &name, &account, expect).await?;
        Ok(account)
    }
}

impl Operation for SwitchServiceAccount {
    type Output = ();

    fn method(&self) -> Method {
        let name = if self.enable { "EnableServiceAccount" } else { "DisableServiceAccount" };
        Method { service: "iam.googleapis.com", name, kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        Some(if self.enable { Permission::ServiceAccountsEnable } else { Permission::ServiceAccountsDisable })
    }

    fn target(&self) -> Resource {
        self.name.resource()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let SwitchServiceAccount { name, enable } = authorised.command();
        let (name, disabled) = (name.clone(), !enable);
        let (mut account, expect) = read(authorised, &name).await?;
        if disabled {
            authorised.service().refuse_loss_of_administrator(&account.email).await?;
        }
        account.disabled = disabled;
        write(authorised, &name, &account, expect).await
    }
}

/// The newest state, past the cache, and what must still hold when it is written. The account of a project's clusters gets
/// its record with its first change.
async fn read<O: Operation>(
    authorised: &Authorised<'_, O>,
    name: &AccountName,
) -> Result<(ServiceAccount, Expect), KmsError> {
    let service = authorised.service();
    if let Some(stored) = service.read::<ServiceAccount>(&name.record()?).await? {
        return Ok((stored.value, Expect::At(stored.revision)));
    }
    let account = service.find_account(name.email()?).await?.filter(|account| account.is_of_clusters());
    Ok((ServiceAccount::clone(&*account.ok_or_else(|| name.not_found())?), Expect::Absent))
}

async fn write<O: Operation>(
    authorised: &mut Authorised<'_, O>,
    name: &AccountName,
    account: &ServiceAccount,
    expect: Expect,
) -> Result<(), KmsError> {
    let mut batch = Batch::default();
    batch.writes.push(Write { name: name.record()?, expect, value: Some(encode(account)?) });
    match authorised.commit(batch).await {
        Ok(_) => Ok(()),
        Err(error) if error.class() == ErrorClass::AlreadyExists => Err(authorised.start_over(error)),
        Err(error) => Err(error),
    }
}

pub(super) fn check_texts(display_name: &str, description: &str) -> Result<(), KmsError> {
    for (what, text, most) in
        [("display name", display_name, MAX_DISPLAY_NAME), ("description", description, MAX_DESCRIPTION)]
    {
        if text.len() > most {
            let len = text.len();
            return Err(KmsError::invalid(format!(
                "The {what} has {len} bytes; at most {most} are allowed."
            )));
        }
    }
    Ok(())
}
