use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::ErrorClass;
use keystead_store::Batch;

use crate::records::service_account_key::{MAX_LISTED, is_key_id};
use crate::records::{decode, record_name};
use crate::{AccountName, Authorised, KmsError, Method, MethodKind, Operation, Resource, ServiceAccountKey};

/// Lists the keys of a service account, in the order of their ids.
pub struct ListServiceAccountKeys {
    /// The account.
    pub name: AccountName,
}

/// Reads the public half of a key.
pub struct GetServiceAccountKey {
    /// The account.
    pub name: AccountName,
    /// The id of the key.
    pub key_id: String,
}

/// Deletes a key: what it signed does not count from the next request on.
pub struct DeleteServiceAccountKey {
    /// The account.
    pub name: AccountName,
    /// The id of the key.
    pub key_id: String,
}

impl Operation for ListServiceAccountKeys {
    type Output = Vec<ServiceAccountKey>;

    fn method(&self) -> Method {
        Method { service: "iam.googleapis.com", name: "ListServiceAccountKeys", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServiceAccountKeysList)
    }

    fn target(&self) -> Resource {
        self.name.resource()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<ServiceAccountKey>, KmsError> {
        let name = &authorised.command().name;
        authorised.service().find_account(name.email()?).await?.ok_or_else(|| name.not_found())?;
        let prefix = record_name::service_account_keys(name.email()?);
        // All of them, should there ever be more than may be.
        let records = authorised.service().store.list(&prefix, "", MAX_LISTED).await?;
        records.iter().map(|record| decode(&record.name, &record.value)).collect()
    }
}

impl Operation for GetServiceAccountKey {
    type Output = ServiceAccountKey;

    fn method(&self) -> Method {
        Method { service: "iam.googleapis.com", name: "GetServiceAccountKey", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServiceAccountKeysGet)
    }

    fn target(&self) -> Resource {
        self.name.resource()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ServiceAccountKey, KmsError> {
        let GetServiceAccountKey { name, key_id } = authorised.command();
        let record = record(name, key_id)?;
        let key = authorised.service().read::<ServiceAccountKey>(&record).await?;
        Ok(key.ok_or_else(|| not_found(key_id))?.value)
    }
}

impl Operation for DeleteServiceAccountKey {
    type Output = ();

    fn method(&self) -> Method {
        Method {
            service: "iam.googleapis.com",
            name: "DeleteServiceAccountKey",
            kind: MethodKind::AdminWrite,
        }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServiceAccountKeysDelete)
    }

    fn target(&self) -> Resource {
        self.name.resource()
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with_some("keyId", Some(self.key_id.as_str()).filter(|it| is_key_id(it)))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let DeleteServiceAccountKey { name, key_id } = authorised.command();
        let record = record(name, key_id)?;
        let stored = authorised.service().read::<ServiceAccountKey>(&record).await?;
        let stored = stored.ok_or_else(|| not_found(key_id))?;
        authorised.commit(Batch::default().delete(record, stored.revision)).await?;
        Ok(())
    }
}

fn record(name: &AccountName, key_id: &str) -> Result<String, KmsError> {
    if !is_key_id(key_id) {
        return Err(not_found(key_id));
    }
    Ok(record_name::service_account_key(name.email()?, key_id))
}

fn not_found(key_id: &str) -> KmsError {
    let shown: String = key_id.chars().take(100).collect();
    KmsError::new(ErrorClass::NotFound, format!("Service account key {shown} does not exist."))
}
