//! The audit log: one record for each answered call, hash-chained, durable before the answer.
//!
//! It must never hold a secret (a record is built from closed types that cannot carry bytes), never lose a record that it
//! acknowledged, and never let a slow reader or export hold up a call. It decides nothing: whoever acts asks
//! [`AuditLog::admits`] first. Read [`AuditLog`] first, then `writer.rs`; `docs/formats/audit-log.md` has the bytes.

mod active;
mod chain;
mod clock_watch;
mod entry;
mod error;
mod event;
mod export;
mod files;
mod head;
mod line;
mod log;
mod metrics;
mod problem;
mod queue;
mod reader;
mod record;
mod recover;
mod refusals;
mod reserve;
mod resource;
mod retention;
mod safe_value;
mod segment;
mod settings;
mod shared;
mod signed_head;
mod state;
mod verify;
mod writer;

pub use clock_watch::{ClockLook, ClockWatch};
pub use error::AuditError;
pub use event::{Checked, Destruction, Event, EventKind, Status};
pub use export::{Export, ExportSettings, OtlpSettings, SyslogAddress};
pub use head::{Hash, Head};
pub use log::AuditLog;
pub use problem::{Problem, ProblemKind};
pub use queue::Position;
pub use reader::{Reader, RecordLine};
pub use record::Record;
pub use recover::Recovered;
pub use refusals::RefusedCaller;
pub use safe_value::{SafeFields, SafeValue};
pub use settings::{AuditSettings, Clock, SignedHeads};
pub use signed_head::{HeadError, HeadSigner, SignedHead};
pub use state::LogState;
pub use verify::{Problems, Verified, VerifyError, verify};
