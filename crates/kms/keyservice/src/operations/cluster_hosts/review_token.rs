use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::ErrorClass;
use zeroize::Zeroizing;

use super::report_host::require_joined;
use super::{calling_host, method};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// What an API server of a local cluster lets somebody do, by the permission that stands for it: the first one that is had. The groups are
/// bound to `cluster-admin`, `edit` and `view`.
const GROUPS: [(Permission, &str); 3] = [
    (Permission::ClusterRoleBindingsUpdate, "keystead:admins"),
    (Permission::SecretsUpdate, "keystead:editors"),
    (Permission::PodsGet, "keystead:viewers"),
];

/// Who a bearer token is, for the API server of a local cluster that was shown it. Only such a cluster asks: the API server of any other is
/// somebody else's, and could go on to use the token here.
pub struct ReviewToken {
    /// What the API server was shown.
    pub token: Zeroizing<String>,
}

/// Somebody whom an API server may let in.
pub struct Reviewed {
    /// The e-mail address.
    pub user: String,
    /// The group in which Kubernetes has them; none: they may do nothing there.
    pub group: Option<&'static str>,
}

impl Operation for ReviewToken {
    /// None: the token counts for nothing.
    type Output = Option<Reviewed>;

    fn method(&self) -> Method {
        method("ReviewToken", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Option<Reviewed>, KmsError> {
        let name = calling_host(authorised)?;
        let service = authorised.service();
        require_joined(authorised, &service.read_host(&name).await?.value)?;
        if service.read_cluster(&name.cluster).await?.value.local_api_servers.is_none() {
            let text = format!("Tokens are reviewed for local clusters only, and {} is none.", name.cluster);
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        let shown = service.bearer_shown(&authorised.command().token, authorised.now()).await;
        let call = match shown {
            Ok(call) => call,
            Err(error) if error.class() == ErrorClass::Unauthenticated => {
                // Anybody on the machine can have an API server ask, and would fill the log.
                authorised.outcome().unrecorded = true;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let cluster = Resource::Cluster(name.cluster);
        let mut group = None;
        for (permission, name) in GROUPS {
            if group.is_none() && service.allowed(&call, permission, &cluster).await? {
                group = Some(name);
            }
        }
        let user = call.caller().principal.email().to_owned();
        authorised.outcome().response =
            SafeFields::new().with("user", user.as_str()).with_some("group", group);
        Ok(Some(Reviewed { user, group }))
    }
}
