use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::Principal;
use keystead_store::Batch;

use crate::records::opaque::is_id;
use crate::records::session::StoredSessions;
use crate::records::{encode, record_name};
use crate::{Authorised, Call, KmsError, Method, MethodKind, Operation, Resource};

/// Ends a session of the caller's own: from the next request on its cookie does not count. Ending it again changes nothing.
pub struct EndSession {
    principal: Principal,
    id: String,
}

impl EndSession {
    /// The session of that id.
    pub fn of_caller(call: &Call, id: String) -> Self {
        Self { principal: call.caller().principal.clone(), id }
    }
}

impl Operation for EndSession {
    type Output = ();

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "EndSession", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    fn describe(&self) -> SafeFields {
        // Whatever was sent may be a whole cookie, in the wrong place.
        SafeFields::new().with_some("id", Some(self.id.as_str()).filter(|it| is_id(it)))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let EndSession { principal, id } = authorised.command();
        let record = record_name::sessions(principal);
        let Some(mut stored) = authorised.service().read::<StoredSessions>(&record).await? else {
            return Ok(());
        };
        if !stored.value.end(id) {
            return Ok(());
        }
        let batch = match stored.value.last_end() {
            Some(_) => Batch::default().replace(record, stored.revision, encode(&stored.value)?),
            None => Batch::default().delete(record, stored.revision),
        };
        authorised.commit(batch).await.map(drop)
    }
}
