//! Every use case of the key management service: authorise, act, record. Whoever speaks to the outside, REST, gRPC or the
//! console, is an adapter that makes a command and has it run.
//!
//! It must never act without a decision of `keystead-iam`, never answer before the audit record is durable, never try one
//! key after another, and never hold a lock across an await. Read [`KeyService::run`] first, then
//! `operations/create_key_ring.rs` for a mutation and `operations/encrypt.rs` for the use of a key.

mod audit_event;
mod backup;
mod caller;
mod error;
#[cfg(test)]
mod fresh_server;
mod identity;
mod keyring;
mod ledger;
mod new_version;
mod open;
mod operation;
pub mod operations;
mod policies;
mod projects;
mod record_name;
mod records;
mod remembered;
mod resource;
mod root;
mod schedule;
mod service;
mod settings;
#[cfg(test)]
mod testbed;
#[cfg(test)]
mod tests;
mod usage;

pub use backup::{Backup, BackupCopy, BackupStore, CreateBackup, PendingBackup};
pub use caller::{Call, Caller, Credential, Origin};
pub use error::{Detail, KmsError};
pub use identity::{
    AccountName, AccountPage, ClientIdentity, CreateServiceAccount, CreateServiceAccountKey, CreateToken,
    DeleteServiceAccount, DeleteServiceAccountKey, GetServiceAccount, GetServiceAccountKey, GroupsError,
    InvalidCertificate, ListServiceAccountKeys, ListServiceAccounts, ListTokens, NewServiceAccountKey,
    NewToken, Presented, RevokeToken, ServiceAccount, ServiceAccountKey, SwitchServiceAccount, Token,
    TokenAnswer, TokenPage, TokenRefusal, UpdateServiceAccount,
};
pub use open::{KeepFirstToken, OpenError, Parts, Rollback};
pub use operation::{Act, Method, MethodKind, Operation};
pub use projects::{
    CreateProject, GetProject, GetService, ListProjects, ListServices, Project, ProjectPage, ServiceApi,
    ServiceView, SwitchServices,
};
pub use resource::Resource;
pub use root::{RootDirectory, RootError};
pub use schedule::Tick;
pub use service::{Clock, KeyService, SystemClock, audit_clock};
pub use settings::{Location, Settings};
