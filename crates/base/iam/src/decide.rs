use jiff::Timestamp;
use keystead_model::Principal;

use crate::{CompiledPolicy, Permission};

/// One question: may this caller do this to that?
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Who calls.
    pub principal: &'a Principal,
    /// The groups that the caller is in, in lower case.
    pub groups: &'a [String],
    /// What the caller wants to do.
    pub permission: Permission,
    /// To what: the full name, such as `projects/P/locations/L/keyRings/R`. Conditions see it as `resource.name`.
    pub resource_name: &'a str,
    /// Such as `cloudkms.googleapis.com/CryptoKey`: `resource.type`.
    pub resource_type: &'a str,
    /// Such as `cloudkms.googleapis.com`: `resource.service`.
    pub service: &'a str,
    /// When: `request.time`.
    pub time: Timestamp,
}

/// The answer, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The principal may do it.
    Allowed {
        /// The role that grants it.
        by: &'static str,
        /// The resource whose policy binds the role.
        at: &'a str,
    },
    /// No: nothing grants it. There is no other reason, so there is nothing to probe.
    Denied,
}

impl Decision<'_> {
    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// Decides by the policies of the resource and of all above it, the root first, each with the name of its resource. What is
/// not granted is denied; nothing takes a right away that a policy above grants.
pub fn decide<'a>(query: &Query<'_>, policies: &[(&'a str, &CompiledPolicy)]) -> Decision<'a> {
    policies
        .iter()
        .find_map(|(at, policy)| policy.granted_by(query).map(|role| Decision::Allowed { by: role.name, at }))
        .unwrap_or(Decision::Denied)
}
