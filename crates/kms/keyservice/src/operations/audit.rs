use keystead_audit::Head;
use keystead_iam::Permission;

use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Says where the audit log ends, so that it can be kept elsewhere and compared later.
pub struct GetAuditHead;

impl Operation for GetAuditHead {
    type Output = Head;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "GetAuditHead", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::AuditRead)
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Head, KmsError> {
        // Of the newest durable record; the one about this call comes after it.
        Ok(authorised.service().audit.head())
    }
}
