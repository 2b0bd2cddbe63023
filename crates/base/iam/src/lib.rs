//! Who may do what: `(principal, permission, resource, policies) -> decision with its reason`.
//!
//! Pure: no I/O, no clock. It must never grant what no policy grants: a role, member or condition that it does not understand
//! grants nothing, and a condition that fails counts as false. Read [`decide`] first, then the table in `roles.rs`.

mod answered_policy;
mod compiled_policy;
mod condition;
mod decide;
mod invalid_policy;
mod member;
mod permission;
mod role;
mod roles;
mod validate;

pub use answered_policy::{as_requested, etag};
pub use compiled_policy::CompiledPolicy;
pub use condition::{Expression, InvalidCondition, MAX_EXPRESSION_LEN, MAX_LOGICAL_OPERATORS};
pub use decide::{Decision, Query, decide};
pub use invalid_policy::InvalidPolicy;
pub use member::Member;
pub use permission::{Permission, UnknownPermission};
pub use role::{ResourceKind, Role};
pub use validate::{MAX_CONDITIONAL_BINDINGS, MAX_DESCRIPTION_CHARS, MAX_MEMBERS, MAX_TITLE_CHARS, validate};
