use crate::permission::PermissionSet;
use crate::{Permission, roles};

/// A named set of permissions.
#[derive(Debug)]
pub struct Role {
    /// Such as `roles/cloudkms.admin`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// The highest resources first: where a policy may bind it.
    pub bound_at: &'static [ResourceKind],
    /// What it grants.
    pub grants: &'static [Permission],
    set: PermissionSet,
}

impl Role {
    pub(crate) const fn new(
        name: &'static str,
        title: &'static str,
        bound_at: &'static [ResourceKind],
        grants: &'static [Permission],
    ) -> Self {
        Self { name, title, bound_at, grants, set: PermissionSet::of(grants) }
    }

    /// Every role that a policy may name.
    pub fn all() -> &'static [Self] {
        roles::ALL
    }

    /// The role of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        // Only when a policy is set or loaded; a decision holds the role itself.
        roles::ALL.iter().find(|role| role.name == name)
    }

    /// Whether it grants `permission`.
    pub fn has(&self, permission: Permission) -> bool {
        self.set.contains(permission)
    }

    /// Owner, editor and viewer: they cannot be granted under a condition.
    pub fn is_basic(&self) -> bool {
        matches!(self.name, "roles/owner" | "roles/editor" | "roles/viewer")
    }

    pub(crate) fn set(&self) -> PermissionSet {
        self.set
    }
}

/// Where a policy can be. Rights go down: from the server to its projects, from a project to all in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// The server itself: the root of all policies.
    Server,
    /// A project.
    Project,
    /// A key ring.
    KeyRing,
    /// A key; its versions have no policy of their own.
    CryptoKey,
    /// A service account.
    ServiceAccount,
}
