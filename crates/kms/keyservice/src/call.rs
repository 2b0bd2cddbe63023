//! One call, from who makes it to its record: read `operation.rs` first.

pub(crate) mod audit_event;
mod caller;
mod operation;

pub use caller::{Call, Caller, Credential, Origin};
pub(crate) use operation::Outcome;
pub use operation::{Act, Method, MethodKind, Operation};
