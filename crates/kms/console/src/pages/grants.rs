//! Who may use a key, and by what.

use keystead_keyservice::operations::{GetIamPolicy, SetIamPolicy};
use keystead_keyservice::{KmsError, Resource};
use keystead_model::{Binding, CryptoKeyName, ProjectName};

use crate::visit::Visit;

/// The roles that a key is shared by, as the role list of the IAM pages names them.
pub(super) const KEY_ROLES: [(&str, &str); 4] = [
    ("roles/cloudkms.cryptoKeyEncrypterDecrypter", "Cloud KMS CryptoKey Encrypter/Decrypter"),
    ("roles/cloudkms.cryptoKeyEncrypter", "Cloud KMS CryptoKey Encrypter"),
    ("roles/cloudkms.cryptoKeyDecrypter", "Cloud KMS CryptoKey Decrypter"),
    ("roles/cloudkms.viewer", "Cloud KMS Viewer"),
];

/// A binding that counts for the key.
pub(super) struct MemberRow {
    pub(super) member: String,
    pub(super) role: String,
    pub(super) conditional: bool,
    /// Where it is granted, if not here.
    pub(super) inherited: Option<String>,
}

/// A member as policies name it. Who types an address alone means a service account if it ends as one does, else a user.
pub(super) fn member(typed: &str) -> Option<String> {
    let plain = |address: &str| {
        (1..=254).contains(&address.len())
            && address.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.'))
            && !address.contains(|it: char| it.is_whitespace() || it.is_control())
    };
    match typed.split_once(':') {
        Some(("user" | "group" | "serviceAccount", address)) => plain(address).then(|| typed.to_owned()),
        Some(_) => None,
        None if !plain(typed) => None,
        None if typed.ends_with(".gserviceaccount.com") => Some(format!("serviceAccount:{typed}")),
        None => Some(format!("user:{typed}")),
    }
}

/// Adds a member to a role of a policy.
pub(super) async fn grant(
    visit: &Visit<'_>,
    resource: Resource,
    member: &str,
    role: &str,
) -> Result<(), KmsError> {
    change_policy(visit, resource, |bindings| {
        let binding = bindings.iter_mut().find(|it| it.role == role && it.condition.is_none());
        let member = member.to_owned();
        match binding {
            Some(binding) if binding.members.contains(&member) => {}
            Some(binding) => binding.members.push(member),
            None => bindings.push(Binding { role: role.to_owned(), members: vec![member], condition: None }),
        }
    })
    .await
}

/// Takes a role from a member; bindings with conditions stay as they are.
pub(super) async fn revoke(
    visit: &Visit<'_>,
    resource: Resource,
    member: &str,
    role: &str,
) -> Result<(), KmsError> {
    change_policy(visit, resource, |bindings| {
        for binding in bindings.iter_mut().filter(|it| it.role == role && it.condition.is_none()) {
            binding.members.retain(|it| it != member);
        }
        bindings.retain(|binding| !binding.members.is_empty());
    })
    .await
}

/// Changes the bindings of a policy, unless somebody has changed it meanwhile. What is so already is not written.
async fn change_policy(
    visit: &Visit<'_>,
    resource: Resource,
    change: impl FnOnce(&mut Vec<Binding>),
) -> Result<(), KmsError> {
    let read = visit.run(GetIamPolicy { resource: resource.clone(), requested_version: 3 }).await?;
    let mut policy = read.policy.clone();
    change(&mut policy.bindings);
    if policy == read.policy {
        return Ok(());
    }
    policy.version = 3;
    let command = SetIamPolicy { resource, policy, etag: Some(read.etag), keep_bindings: false };
    visit.run(command).await.map(drop)
}

/// Who has a role on the key, here and further out, as far as whoever looks may see policies.
pub(super) async fn members(visit: &Visit<'_>, name: &CryptoKeyName) -> Result<Vec<MemberRow>, KmsError> {
    let project = ProjectName { project: name.ring.location.project.clone() };
    let holders = [
        (None, Resource::CryptoKey(name.clone())),
        (Some(visit.texts().key_ring), Resource::KeyRing(name.ring.clone())),
        (Some(visit.texts().project), Resource::Project(project)),
        (Some(visit.texts().server), Resource::Server),
    ];
    let mut rows = Vec::new();
    for (inherited, resource) in holders {
        let Some(read) = visit.may_see(GetIamPolicy { resource, requested_version: 3 }).await? else {
            continue;
        };
        for binding in read.policy.bindings {
            let row = |member: String| MemberRow {
                member,
                role: binding.role.clone(),
                conditional: binding.condition.is_some(),
                inherited: inherited.map(str::to_owned),
            };
            rows.extend(binding.members.iter().cloned().map(row));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u4_a_member_is_an_address_of_some_kind() {
        for (typed, named) in [
            ("a@example.com", Some("user:a@example.com")),
            ("group:g@example.com", Some("group:g@example.com")),
            (
                "service-1@container-engine-robot.iam.gserviceaccount.com",
                Some("serviceAccount:service-1@container-engine-robot.iam.gserviceaccount.com"),
            ),
            ("allUsers", None),
            ("allUsers:a@example.com", None),
            ("a b@example.com", None),
            ("@example.com", None),
            ("", None),
        ] {
            assert_eq!(member(typed).as_deref(), named, "{typed}");
        }
    }
}
