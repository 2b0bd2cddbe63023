//! One call, from who makes it to its record: what it asks for (`operation.rs`), and how that is done (`run.rs`).

pub(crate) mod audit_event;
mod authorise;
mod authorised;
mod caller;
mod operation;
mod run;

pub use authorised::Authorised;
pub(crate) use authorised::Outcome;
pub use caller::{Call, Caller, Credential, Origin};
pub use operation::{Method, MethodKind, Operation};
