use keystead_iam::Permission;
use keystead_model::{ErrorClass, KeyRing, KeyRingName};
use keystead_store::Batch;

use crate::records::{encode, record_name};
use crate::{Act, KmsError, Method, MethodKind, Operation, Resource};

/// Makes a key ring. It can never be deleted, and its name never used for another.
pub struct CreateKeyRing {
    /// Its name.
    pub name: KeyRingName,
}

impl Operation for CreateKeyRing {
    type Output = KeyRing;

    fn method(&self) -> Method {
        Method::kms("CreateKeyRing", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::KeyRingsCreate)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.name.location.clone())
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<KeyRing, KmsError> {
        let name = act.command().name.clone();
        act.service().require_location(&name.location)?;
        let ring = KeyRing { name: name.clone(), create_time: act.now() };
        let batch = Batch::default().create(record_name::ring(&name), encode(&ring)?);
        act.outcome().resource = Some(name.to_string().into());
        match act.commit(batch).await {
            Ok(_) => Ok(ring),
            Err(error) if error.class() == ErrorClass::AlreadyExists => {
                Err(KmsError::already_exists("KeyRing", name))
            }
            Err(error) => Err(error),
        }
    }
}
