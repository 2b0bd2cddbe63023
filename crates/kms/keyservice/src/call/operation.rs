use keystead_audit::SafeFields;
use keystead_iam::Permission;

use crate::{Authorised, KmsError, Resource};

/// One use case of the server: what it needs, and what it does once that is granted.
///
/// [`KeyService::run`] is the only way to have one done: it decides, lets [`Operation::perform`] act, and records.
pub trait Operation: Send + Sized {
    /// What the caller gets.
    type Output: Send;

    /// What it is called in the audit log.
    fn method(&self) -> Method;

    /// What the caller must be allowed; none: to be known is enough.
    fn permission(&self) -> Option<Permission>;

    /// What the permission is asked for.
    fn target(&self) -> Resource;

    /// What the audit log says of the request: never a plaintext, a key or a token.
    fn describe(&self) -> SafeFields {
        SafeFields::default()
    }

    /// Carries it out. When somebody else was faster with a change, it is called again and begins anew.
    fn perform(
        authorised: &mut Authorised<'_, Self>,
    ) -> impl Future<Output = Result<Self::Output, KmsError>> + Send;
}

/// A method of an API, as the audit log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Such as `cloudkms.googleapis.com`.
    pub service: &'static str,
    /// Such as `CreateKeyRing`.
    pub name: &'static str,
    /// Which log it belongs to.
    pub kind: MethodKind,
}

/// Kinds of method, as Cloud Audit Logs tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// Changes configuration or metadata.
    AdminWrite,
    /// Reads configuration or metadata.
    AdminRead,
    /// Uses a key.
    DataAccess,
    /// The server does it by itself.
    System,
}

impl Method {
    /// A method of Cloud KMS.
    pub const fn kms(name: &'static str, kind: MethodKind) -> Self {
        Self { service: "cloudkms.googleapis.com", name, kind }
    }
}
