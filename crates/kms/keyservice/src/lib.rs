//! Every use case of the key management service: authorise, act, record. Whoever speaks to the outside, gRPC or REST, is an
//! adapter that makes a command and has it run.
//!
//! It must never act without a decision of `keystead-iam`, never answer before the audit record is durable, never try one
//! key after another, and never hold a lock across an await. Read [`KeyService::run`] first, then
//! `operations/rings.rs` for a mutation and `operations/keys/encrypt.rs` for the use of a key.

mod authentication;
mod call;
mod error;
#[cfg(test)]
mod fresh_server;
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
#[cfg(test)]
mod testbed;
#[cfg(test)]
mod tests;

pub use authentication::Presented;
pub use call::{Authorised, Call, Caller, Credential, Method, MethodKind, Operation, Origin};
pub use error::{Detail, KmsError};
pub use identity::{ClientIdentity, GroupsError, InvalidCertificate};
pub use open::{KeepFirstToken, OpenError, Parts, Rollback};
pub use operations::{
    AccountPage, Backup, BackupCopy, BackupStore, CreateBackup, CreateProject, CreateServiceAccount,
    CreateServiceAccountKey, CreateToken, DeleteServiceAccount, DeleteServiceAccountKey, GetProject,
    GetService, GetServiceAccount, GetServiceAccountKey, ListProjects, ListServiceAccountKeys,
    ListServiceAccounts, ListServices, ListTokens, NewServiceAccountKey, NewToken, PendingBackup,
    ProjectPage, RevokeToken, ServiceView, SwitchServiceAccount, SwitchServices, TokenAnswer, TokenPage,
    TokenRefusal, UpdateServiceAccount,
};
pub use records::certificate::CertificateState;
pub use records::last_use::LastUse;
pub use records::project::Project;
pub use records::service_account::ServiceAccount;
pub use records::service_account_key::ServiceAccountKey;
pub use records::service_api::ServiceApi;
pub use records::token::Token;
pub use resource::Resource;
pub use root::{RootDirectory, RootError};
pub use schedule::Tick;
pub use service::{AccountName, Clock, KeyService, Location, Settings, SystemClock, audit_clock};
