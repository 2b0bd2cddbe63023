use keystead_iam::Permission;
use keystead_model::Principal;

use crate::records::record_name;
use crate::records::session::StoredSessions;
use crate::{Authorised, Call, KmsError, Method, MethodKind, Operation, Resource, Session};

/// Lists the caller's own sessions that count, in the order in which they began.
pub struct ListSessions(Principal);

impl ListSessions {
    /// Those of whoever calls.
    pub fn of_caller(call: &Call) -> Self {
        Self(call.caller().principal.clone())
    }
}

impl Operation for ListSessions {
    type Output = Vec<Session>;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "ListSessions", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<Session>, KmsError> {
        let record = record_name::sessions(&authorised.command().0);
        let stored = authorised.service().read::<StoredSessions>(&record).await?;
        Ok(stored.map(|stored| stored.value.current(authorised.now())).unwrap_or_default())
    }
}
