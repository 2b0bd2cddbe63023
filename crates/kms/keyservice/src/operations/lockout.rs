//! Policies that would lock everybody out are refused: those of the server, and those of projects.

use keystead_iam::{Permission, Role};
use keystead_model::{ErrorClass, Policy, Principal};

use crate::{Call, KeyService, KmsError, Resource};

impl KeyService {
    /// Refuses a change of a policy after which nobody could change it again.
    ///
    /// The server's policy always names a person or an account. A project may be left to the administrators of the server, but
    /// only by somebody who is one: the last owner cannot remove himself, as in Resource Manager, which keeps one owner in
    /// every project that has no organisation above it.
    pub(super) async fn refuse_lockout(
        &self,
        call: &Call,
        resource: &Resource,
        before: &Policy,
        after: &Policy,
    ) -> Result<(), KmsError> {
        let text = match resource {
            Resource::Server => {
                let known = |member: &str| member.parse::<Principal>().is_ok();
                if can_be_set(after, Permission::ServerSetIamPolicy, known) {
                    return Ok(());
                }
                "This policy would leave nobody who can change the server's policy: bind roles/keystead.admin to a user or a \
                 service account, without a condition."
                    .to_owned()
            }
            Resource::Project(_) => {
                let permission = Permission::ProjectsSetIamPolicy;
                // Who is in a group is no matter of the project, so that a group is somebody.
                let removes_last =
                    can_be_set(before, permission, |_| true) && !can_be_set(after, permission, |_| true);
                if !removes_last || self.allowed(call, permission, &Resource::Server).await? {
                    return Ok(());
                }
                format!(
                    "This policy would leave nobody in {resource} who can change it again: bind roles/owner, or another role with \
                     {}, to somebody, without a condition. An administrator of the server can do without.",
                    permission.as_str()
                )
            }
            _ => return Ok(()),
        };
        Err(KmsError::new(ErrorClass::FailedPrecondition, text))
    }
}

/// Whether a policy lets somebody who counts change it. A condition may end, and so it does not count.
fn can_be_set(policy: &Policy, permission: Permission, counts: impl Fn(&str) -> bool) -> bool {
    policy.bindings.iter().any(|binding| {
        binding.condition.is_none()
            && Role::find(&binding.role).is_some_and(|role| role.has(permission))
            && binding.members.iter().any(|member| counts(member))
    })
}
