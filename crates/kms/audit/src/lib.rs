//! The audit log: one record for each answered call, hash-chained, durable before the answer.
//!
//! It must never hold a secret (a record is built from closed types that cannot carry bytes), never lose a record that it
//! acknowledged, and never let a slow reader or export hold up a call. It decides nothing: whoever acts asks
//! [`AuditLog::admits`] first. Read [`AuditLog`] first, then `writer.rs`; `docs/formats/audit-log.md` has the bytes.

mod entry;
mod error;
mod event;
mod files;
mod head;
mod line;
mod log;
mod queue;
mod record;
mod recover;
mod resource;
mod safe_value;
mod segment;
mod settings;
mod writer;

pub use error::AuditError;
pub use event::{Checked, Destruction, Event, EventKind, Status};
pub use head::{Hash, Head};
pub use log::{AuditLog, Position, Recovered};
pub use record::Record;
pub use safe_value::{SafeFields, SafeValue};
pub use settings::{AuditSettings, Clock};
