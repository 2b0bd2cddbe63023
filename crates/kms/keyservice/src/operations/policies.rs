//! Policies of projects, key rings, keys and service accounts: read, written, tested.

use std::collections::BTreeSet;

use keystead_audit::SafeFields;
use keystead_crypto::sha256;
use keystead_iam::{Permission, ResourceKind, as_requested, validate};
use keystead_model::{Binding, Condition, ErrorClass, Policy};
use keystead_store::{Batch, Expect, Write};

use crate::records::{encode, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Most permissions of one TestIamPermissions, as Google's services have it.
const MAX_TESTED: usize = 100;
/// Conditions whose title, description and expression are longer, in bytes, may not fit into the 1,024 of a text in a record, with role, member and escapes.
const LONG_CONDITION: usize = 256;

/// Reads the policy of a resource.
pub struct GetIamPolicy {
    /// The resource that has the policy.
    pub resource: Resource,
    /// The newest form that the caller understands: below 3 conditions are hidden, and so are their roles.
    pub requested_version: i32,
}

/// A policy and what a writer must name to be sure that nobody wrote in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyAndEtag {
    /// The policy.
    pub policy: Policy,
    /// 8 bytes.
    pub etag: Vec<u8>,
}

/// Writes the policy of a resource.
pub struct SetIamPolicy {
    /// The resource that has the policy.
    pub resource: Resource,
    /// The new policy, whole.
    pub policy: Policy,
    /// The etag of the policy that was read; none overwrites whatever is there.
    pub etag: Option<Vec<u8>>,
    /// Keeps the bindings, because an update mask leaves them out.
    pub keep_bindings: bool,
}

/// Says which of some permissions the caller has. Whoever is known may ask.
pub struct TestIamPermissions {
    /// The resource that has the policy.
    pub resource: Resource,
    /// Such as `cloudkms.cryptoKeys.get`.
    pub permissions: Vec<String>,
}

impl Operation for GetIamPolicy {
    type Output = PolicyAndEtag;

    fn method(&self) -> Method {
        method("GetIamPolicy", MethodKind::AdminRead, &self.resource)
    }

    fn permission(&self) -> Option<Permission> {
        Some(match self.resource {
            Resource::CryptoKey(_) | Resource::CryptoKeyVersion(_) => Permission::CryptoKeysGetIamPolicy,
            Resource::KeyRing(_) | Resource::Location(_) => Permission::KeyRingsGetIamPolicy,
            Resource::ServiceAccount { .. } => Permission::ServiceAccountsGetIamPolicy,
            Resource::Project(_) | Resource::Cluster(_) => Permission::ProjectsGetIamPolicy,
            Resource::Server => Permission::ServerGetIamPolicy,
        })
    }

    fn target(&self) -> Resource {
        self.resource.clone()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<PolicyAndEtag, KmsError> {
        let GetIamPolicy { resource, requested_version } = authorised.command();
        let holder = authorised.service().policy_holder(resource).await?;
        let stored = authorised.service().policy(&holder).await?;
        let policy = as_requested(stored.policy.clone(), *requested_version);
        Ok(PolicyAndEtag { policy, etag: stored.etag().to_vec() })
    }
}

impl Operation for SetIamPolicy {
    type Output = PolicyAndEtag;

    fn method(&self) -> Method {
        method("SetIamPolicy", MethodKind::AdminWrite, &self.resource)
    }

    fn permission(&self) -> Option<Permission> {
        Some(match self.resource {
            Resource::CryptoKey(_) | Resource::CryptoKeyVersion(_) => Permission::CryptoKeysSetIamPolicy,
            Resource::KeyRing(_) | Resource::Location(_) => Permission::KeyRingsSetIamPolicy,
            Resource::ServiceAccount { .. } => Permission::ServiceAccountsSetIamPolicy,
            Resource::Project(_) | Resource::Cluster(_) => Permission::ProjectsSetIamPolicy,
            Resource::Server => Permission::ServerSetIamPolicy,
        })
    }

    fn target(&self) -> Resource {
        self.resource.clone()
    }

    fn describe(&self) -> SafeFields {
        // Its texts are the caller's and not checked yet; what they change is recorded once they are.
        let members: usize = self.policy.bindings.iter().map(|binding| binding.members.len()).sum();
        SafeFields::new()
            .with("bindingCount", count(self.policy.bindings.len()))
            .with("memberCount", count(members))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<PolicyAndEtag, KmsError> {
        let service = authorised.service();
        let holder = service.policy_holder(&authorised.command().resource).await?;
        let stored = service.policy(&holder).await?;
        if authorised.command().etag.as_ref().is_some_and(|etag| *etag != stored.etag()) {
            return Err(concurrent_change());
        }
        let bindings = if authorised.command().keep_bindings {
            stored.policy.bindings.clone()
        } else {
            authorised.command().policy.bindings.clone()
        };
        let policy = Policy { version: authorised.command().policy.version, bindings };
        let policy = validate(&policy, kind_of(&authorised.command().resource))?;
        let resource = &authorised.command().resource;
        service.refuse_lockout(authorised.call(), resource, &stored.policy, &policy).await?;
        authorised.outcome().response = changes(&stored.policy, &policy)?;
        let record = record_name::policy(&holder);
        let expect = if stored.is_set() { Expect::At(stored.revision) } else { Expect::Absent };
        let mut batch = Batch::default();
        batch.writes.push(Write { name: record, expect, value: Some(encode(&policy)?) });
        let revision = match authorised.commit(batch).await {
            // The first policy, and somebody else was faster with it: a conflict like any other.
            Err(error) if error.class() == ErrorClass::AlreadyExists => {
                return Err(authorised.start_over(error));
            }
            committed => committed?,
        };
        let etag = keystead_iam::etag(&policy, revision.0).to_vec();
        Ok(PolicyAndEtag { policy, etag })
    }
}

impl Operation for TestIamPermissions {
    type Output = Vec<String>;

    fn method(&self) -> Method {
        method("TestIamPermissions", MethodKind::AdminRead, &self.resource)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        self.resource.clone()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<String>, KmsError> {
        let TestIamPermissions { resource, permissions } = authorised.command();
        if permissions.len() > MAX_TESTED {
            return Err(KmsError::invalid(format!(
                "{} permissions are too many to test at once: at most {MAX_TESTED} are allowed.",
                permissions.len()
            )));
        }
        let mut granted = Vec::new();
        for text in permissions {
            let permission: Permission = text
                .parse()
                .map_err(|error: keystead_iam::UnknownPermission| KmsError::invalid(error.to_string()))?;
            if authorised.service().allowed(authorised.call(), permission, resource).await? {
                granted.push(text.clone());
            }
        }
        Ok(granted)
    }
}

impl KeyService {
    /// The name under which a resource's own policy is kept, if the resource exists.
    async fn policy_holder(&self, resource: &Resource) -> Result<String, KmsError> {
        let (record, kind) = match resource {
            Resource::Server => return Ok(String::new()),
            Resource::Project(name) => (record_name::project(&name.project), "Project"),
            Resource::KeyRing(name) => (record_name::ring(name), "KeyRing"),
            Resource::CryptoKey(name) => (record_name::key(name), "CryptoKey"),
            // The account of a project's clusters is there without a record.
            Resource::ServiceAccount { email, .. } => {
                let account = self.find_account(email).await?;
                return match account.filter(|account| account.resource() == *resource) {
                    Some(_) => Ok(resource.to_string()),
                    None => Err(KmsError::not_found("Service account", email)),
                };
            }
            Resource::Location(_) | Resource::CryptoKeyVersion(_) | Resource::Cluster(_) => {
                return Err(KmsError::invalid(format!(
                    "{resource} has no IAM policy of its own: policies belong to projects, key rings and keys."
                )));
            }
        };
        match self.store.get(&record).await? {
            Some(_) => Ok(resource.to_string()),
            None => Err(KmsError::not_found(kind, resource)),
        }
    }
}

/// What a change of a policy grants and takes, member by member. Lists in a record end; counts and digests cover everything.
fn changes(before: &Policy, after: &Policy) -> Result<SafeFields, KmsError> {
    let (old, new) = (grants(before), grants(after));
    let (added, removed) = (new.difference(&old), old.difference(&new));
    let in_words = |grants: BTreeSet<&Grant<'_>>| grants.into_iter().map(Grant::in_words).collect::<Vec<_>>();
    let (added, removed) = (in_words(added.collect()), in_words(removed.collect()));
    Ok(SafeFields::new()
        .with("addedCount", count(added.len()))
        .with("removedCount", count(removed.len()))
        .with("added", added)
        .with("removed", removed)
        .with("sha256Before", hex::encode(sha256(&encode(before)?)))
        .with("sha256After", hex::encode(sha256(&encode(after)?))))
}

/// A role for a member, under a condition or none. What a condition is called and how it is described is what people take it for.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Grant<'a> {
    role: &'a str,
    member: &'a str,
    condition: Option<Terms<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Terms<'a> {
    title: &'a str,
    expression: &'a str,
    description: &'a str,
}

impl<'a> Terms<'a> {
    fn of(condition: &'a Condition) -> Self {
        let Condition { title, expression, description } = condition;
        Self { title, expression, description }
    }
}

impl Grant<'_> {
    fn in_words(&self) -> String {
        let Self { role, member, condition } = self;
        let Some(Terms { title, expression, description }) = condition else {
            return format!("{role} {member}");
        };
        let described = match description.is_empty() {
            true => String::new(),
            false => format!(" ({description:?})"),
        };
        // A record cuts long texts off: digests tell two of the same beginning apart.
        let mut digests = String::new();
        if title.len() + expression.len() + description.len() > LONG_CONDITION {
            digests = format!("(sha256 {}", hex::encode(sha256(expression.as_bytes())));
            if !description.is_empty() {
                digests += &format!(", of the description {}", hex::encode(sha256(description.as_bytes())));
            }
            digests += ") ";
        }
        format!("{role} {member} if {digests}{title:?}{described}: {expression}")
    }
}

fn grants(policy: &Policy) -> BTreeSet<Grant<'_>> {
    let mut grants = BTreeSet::new();
    for Binding { role, members, condition } in &policy.bindings {
        let condition = condition.as_ref().map(Terms::of);
        grants.extend(members.iter().map(|member| Grant { role, member, condition }));
    }
    grants
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn kind_of(resource: &Resource) -> ResourceKind {
    match resource {
        Resource::Server => ResourceKind::Server,
        Resource::Project(_) | Resource::Location(_) | Resource::Cluster(_) => ResourceKind::Project,
        Resource::KeyRing(_) => ResourceKind::KeyRing,
        Resource::CryptoKey(_) | Resource::CryptoKeyVersion(_) => ResourceKind::CryptoKey,
        Resource::ServiceAccount { .. } => ResourceKind::ServiceAccount,
    }
}

fn method(name: &'static str, kind: MethodKind, resource: &Resource) -> Method {
    let service = match resource {
        Resource::Project(_) | Resource::Server => "cloudresourcemanager.googleapis.com",
        Resource::ServiceAccount { .. } => "iam.googleapis.com",
        _ => return Method::kms(name, kind),
    };
    Method { service, name, kind }
}

fn concurrent_change() -> KmsError {
    KmsError::new(
        ErrorClass::Aborted,
        "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff. The \
         request's ETag does not match the policy's.",
    )
}
