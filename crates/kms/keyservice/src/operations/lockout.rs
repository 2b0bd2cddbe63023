//! Policies that would lock everybody out are refused: those of the server, and those of projects.

use std::collections::BTreeSet;

use keystead_iam::{Permission, Role};
use keystead_model::{ErrorClass, Policy, Principal};

use crate::{Call, KeyService, KmsError, Resource};

impl KeyService {
    /// Refuses a change of a policy after which nobody could change it again.
    ///
    /// The server's policy always names a person, or an account that is there and enabled. A project may be left to the administrators of the server, but
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
                self.refuse_unknown_accounts(before, after).await?;
                if self.is_administered(after, None).await? {
                    return Ok(());
                }
                "This policy would leave nobody who can change the server's policy: bind roles/keystead.admin to a user or a \
                 service account, without a condition."
                    .to_owned()
            }
            Resource::Project(_) => {
                let permission = Permission::ProjectsSetIamPolicy;
                // Who is in a group is no matter of the project, so that a group is somebody.
                let anybody = |policy| who_can_set(policy, permission).next().is_some();
                let removes_last = anybody(before) && !anybody(after);
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

    /// Refuses to end or disable an account without which nobody could change the server's policy.
    pub(super) async fn refuse_loss_of_administrator(&self, email: &str) -> Result<(), KmsError> {
        let policy = &self.policy("").await?.policy;
        if !self.is_administered(policy, None).await? || self.is_administered(policy, Some(email)).await? {
            return Ok(());
        }
        let text = format!(
            "{email} is the only one who can change the server's policy: bind roles/keystead.admin to somebody else first, \
             with `keystead server add-iam-policy-binding`."
        );
        Err(KmsError::new(ErrorClass::FailedPrecondition, text))
    }

    /// Refuses to give the server's roles to accounts that do not exist: whoever may make accounts in some project could make
    /// one of that address, and be who is meant.
    async fn refuse_unknown_accounts(&self, before: &Policy, after: &Policy) -> Result<(), KmsError> {
        let named = |policy: &Policy| -> BTreeSet<String> {
            let members = policy.bindings.iter().flat_map(|binding| &binding.members);
            members.filter_map(|it| it.strip_prefix("serviceAccount:").map(str::to_owned)).collect()
        };
        for email in named(after).difference(&named(before)) {
            if self.find_account(email).await?.is_none() {
                return Err(KmsError::invalid(format!("Service account {email} does not exist.")));
            }
        }
        Ok(())
    }

    /// Whether a person, or an account that is there and enabled, can change the server's policy; `without` one account.
    async fn is_administered(&self, policy: &Policy, without: Option<&str>) -> Result<bool, KmsError> {
        for member in who_can_set(policy, Permission::ServerSetIamPolicy) {
            let there = match member.parse() {
                Ok(Principal::User(_)) => true,
                Ok(Principal::ServiceAccount(email)) if Some(email.as_str()) != without => {
                    self.find_account(&email).await?.is_some_and(|account| !account.disabled)
                }
                // Groups may be empty.
                Ok(Principal::ServiceAccount(_)) | Err(_) => false,
            };
            if there {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whom a policy lets change it. A condition may end, and so it does not count.
fn who_can_set(policy: &Policy, permission: Permission) -> impl Iterator<Item = &str> {
    let bindings = policy.bindings.iter().filter(move |binding| {
        binding.condition.is_none() && Role::find(&binding.role).is_some_and(|role| role.has(permission))
    });
    bindings.flat_map(|binding| binding.members.iter().map(String::as_str))
}
