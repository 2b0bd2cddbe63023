use keystead_iam::Permission;
use keystead_model::{KeyRing, KeyRingName};

use crate::records::record_name;
use crate::{Act, KmsError, Method, MethodKind, Operation, Resource};

/// Reads a key ring.
pub struct GetKeyRing {
    /// Its name.
    pub name: KeyRingName,
}

impl Operation for GetKeyRing {
    type Output = KeyRing;

    fn method(&self) -> Method {
        Method::kms("GetKeyRing", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::KeyRingsGet)
    }

    fn target(&self) -> Resource {
        Resource::KeyRing(self.name.clone())
    }

    async fn perform(act: &mut Act<'_, Self>) -> Result<KeyRing, KmsError> {
        let name = &act.command().name;
        let ring = act.service().read(&record_name::ring(name)).await?;
        Ok(ring.ok_or_else(|| KmsError::not_found("KeyRing", name))?.value)
    }
}
