use keystead_iam::{Permission, Query, decide};
use keystead_model::ErrorClass;

use crate::{Call, Detail, KeyService, KmsError, Resource};

/// Longest name of a request that an answer repeats, in characters; a version's has at most 291.
const MAX_SHOWN_NAME: usize = 512;

impl KeyService {
    /// Decides, and notes what was decided. Without the permission the answer is the same whether or not the resource exists.
    pub(super) async fn authorise(
        &self,
        call: &Call,
        permission: Option<Permission>,
        target: &Resource,
        named: &str,
        granted: &mut Option<bool>,
    ) -> Result<(), KmsError> {
        let Some(permission) = permission else { return Ok(()) };
        if *granted.insert(self.allowed(call, permission, target).await?) {
            return self.require_enabled_service(service_of(permission), target).await;
        }
        Err(denied(permission, if named.is_empty() { target.to_string() } else { printable(named) }))
    }

    /// Refuses a call that needs one more permission, which is known only after the first.
    pub(crate) async fn require(
        &self,
        call: &Call,
        permission: Permission,
        target: &Resource,
    ) -> Result<(), KmsError> {
        match self.allowed(call, permission, target).await? {
            true => Ok(()),
            false => Err(denied(permission, target.to_string())),
        }
    }

    /// Whether policies allow it, without a record.
    pub(crate) async fn allowed(
        &self,
        call: &Call,
        permission: Permission,
        target: &Resource,
    ) -> Result<bool, KmsError> {
        let name = target.to_string();
        let query = Query {
            principal: &call.caller.principal,
            groups: &call.caller.groups,
            permission,
            resource_name: &name,
            resource_type: target.kind(),
            service: service_of(permission),
            time: call.time,
        };
        // From the server's policy inwards: what it grants is granted, and the large policies further in need not be read.
        for holder in target.policy_holders() {
            let stored = self.policy(&holder).await?;
            if decide(&query, &[(holder.as_str(), &stored.compiled)]).is_allowed() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn denied(permission: Permission, named: String) -> KmsError {
    let text =
        format!("Permission '{}' denied on resource '{named}' (or it may not exist).", permission.as_str());
    KmsError::new(ErrorClass::Denied, text).with(Detail::ErrorInfo {
        reason: "IAM_PERMISSION_DENIED".to_owned(),
        domain: service_of(permission).to_owned(),
        metadata: [("permission".to_owned(), permission.as_str().to_owned()), ("resource".to_owned(), named)]
            .into(),
    })
}

/// A name that a caller sent, as it may stand in an answer: what no name holds is replaced.
fn printable(name: &str) -> String {
    let of_name = |it: char| it.is_ascii_graphic() && !"'\"\\".contains(it);
    name.chars().take(MAX_SHOWN_NAME).map(|it| if of_name(it) { it } else { '?' }).collect()
}

/// The API that a permission belongs to.
fn service_of(permission: Permission) -> &'static str {
    if permission == Permission::ProtectedResourcesSearch {
        // What is protected can be in a project without keys, where Cloud KMS is off.
        return "kmsinventory.googleapis.com";
    }
    match permission.as_str().split('.').next() {
        Some("cloudkms") => "cloudkms.googleapis.com",
        Some("container") => "container.googleapis.com",
        Some("resourcemanager") => "cloudresourcemanager.googleapis.com",
        Some("serviceusage") => "serviceusage.googleapis.com",
        Some("iam") => "iam.googleapis.com",
        _ => "keystead.io",
    }
}
