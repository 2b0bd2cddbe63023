use keystead_iam::Permission;
use keystead_model::{CryptoKeyName, ErrorClass, RetiredResource, to_microseconds};
use keystead_store::Batch;

use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Deletes a key that has no versions left. Its name is retired: never used for another.
pub struct DeleteCryptoKey {
    /// The key.
    pub name: CryptoKeyName,
}

impl Operation for DeleteCryptoKey {
    type Output = RetiredResource;

    fn method(&self) -> Method {
        Method::kms("DeleteCryptoKey", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysDelete)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<RetiredResource, KmsError> {
        let service = authorised.service();
        let name = authorised.command().name.clone();
        let stored = service.read_key(&name).await?;
        let left = service.store.count(&record_name::versions(&name)).await?;
        if left > 0 {
            return Err(KmsError::new(
                ErrorClass::FailedPrecondition,
                format!("CryptoKey {name} has {left} versions: destroy and delete them first."),
            ));
        }
        let location = &name.ring.location;
        let id = hex::encode(stored.value.uid.0);
        let retired = RetiredResource {
            name: format!("{location}/retiredResources/{id}"),
            original_resource: name.to_string(),
            resource_type: "cloudkms.googleapis.com/CryptoKey".to_owned(),
            delete_time: to_microseconds(authorised.now()),
        };
        // A version that somebody makes meanwhile changes the key, and so this batch conflicts.
        let mut batch = Batch::default()
            .delete(record_name::key(&name), stored.revision)
            .create(record_name::retired(location, &id), encode(&retired)?);
        let policy = record_name::policy(&name.to_string());
        if let Some(entry) = service.store.get(&policy).await? {
            batch = batch.delete(policy, entry.revision);
        }
        authorised.commit(batch).await?;
        Ok(retired)
    }
}
