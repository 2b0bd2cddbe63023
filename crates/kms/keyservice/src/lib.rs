//! Every use case of the key management service: authorise, act, record. Whoever speaks to the outside, gRPC or REST, is an
//! adapter that makes a command and has it run.
//!
//! It must never act without a decision of `keystead-iam`, never answer before the audit record is durable, never try one
//! key after another, and never hold a lock across an await. Read [`KeyService::run`] first, then
//! `operations/rings.rs` for a mutation and `operations/keys/encrypt.rs` for the use of a key.
//!
//! Each module imports only those before it; `cargo xtask layers` holds the order.
//!
//! | module | what it is |
//! |---|---|
//! | `error`, `resource` | why a call was not done; what a permission is asked for |
//! | `records` | what is stored, by kind; names and encoding of records |
//! | `key_material` | what encrypts, sealed at rest and opened in memory |
//! | `root` | the root directory: what is in no copy of the database |
//! | `remembered` | what is kept in memory of records, and what keeps it as new as the store |
//! | `ledger` | how a change is committed, kept at the backup destinations, witnessed and recorded |
//! | `identity` | what callers show, and their groups |
//! | `service` | what the service is put together from, and what it finds by name |
//! | `call` | one call: the operation, the decision, the authorised command, the record |
//! | `authentication` | who calls |
//! | `operations` | every use case, by what it is about |
//! | `schedule` | what happens by itself |
//! | `open` | start: a first one, one after a crash, one after a restore |

mod authentication;
mod call;
mod error;
#[cfg(feature = "filling")]
mod filling;
mod identity;
mod key_material;
mod ledger;
mod open;
pub mod operations;
mod records;
mod remembered;
mod resource;
mod root;
mod schedule;
mod service;

pub use authentication::Presented;
pub use call::{Authorised, Call, Caller, Credential, Method, MethodKind, Operation, Origin};
pub use error::{Detail, KmsError};
#[cfg(feature = "filling")]
pub use filling::Filling;
pub use identity::{ClientIdentity, GroupsError, InvalidCertificate, check_groups};
pub use open::{KeepToken, OpenError, Parts, Rollback};
pub use records::certificate::CertificateState;
pub use records::notice::{EventKind, Notice};
pub use records::project::Project;
pub use records::service_account::ServiceAccount;
pub use records::service_account_key::ServiceAccountKey;
pub use records::service_api::ServiceApi;
pub use records::session::Session;
pub use records::token::Token;
pub use records::usage::LastUse;
pub use resource::Resource;
pub use root::{RootDirectory, RootError};
pub use schedule::{LocalCluster, Tick};
pub use service::{
    AccountName, Clock, ClusterFigures, Figures, KeyService, Location, Protection, Settings, SystemClock,
    WaitingNotice, Webhook, WebhookFigures, audit_clock,
};

#[cfg(test)]
mod fresh_server;
#[cfg(test)]
mod testbed;
#[cfg(test)]
mod tests;
