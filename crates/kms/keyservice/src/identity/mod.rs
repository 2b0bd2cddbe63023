//! Who calls, and with what: opaque tokens and client certificates, and the service accounts and groups behind them. Read
//! `authenticate.rs` first.
//!
//! Records are cached by name and dropped by the commit that changes them, so that a revocation counts from the next
//! request on. What is not stored is never cached.

mod account_email;
mod authenticate;
mod certificate;
mod create_token;
mod groups;
mod list_tokens;
mod refusal;
mod revoke_token;
mod service_account;
mod token;

use std::sync::Arc;

use keystead_model::ProjectId;
use serde::de::DeserializeOwned;

pub(crate) use account_email::cluster as cluster_account_email;
pub use authenticate::Presented;
pub use certificate::{ClientIdentity, InvalidCertificate};
pub use create_token::{CreateToken, NewToken};
pub use groups::GroupsError;
pub use list_tokens::{ListTokens, TokenPage};
pub use revoke_token::RevokeToken;
pub use service_account::ServiceAccount;
pub use token::Token;

pub(crate) use groups::Groups;
pub(crate) use token::{StoredToken, TokenFor, mint};

use crate::cache::Cache;
use crate::projects::Project;
use crate::{KeyService, KmsError};

/// Records of one kind in memory: a token takes about 300 bytes, a key about 700.
const CACHED: usize = 10_000;

/// What authentication keeps in memory.
pub(crate) struct IdentityState {
    tokens: Cache<StoredToken>,
    accounts: Cache<ServiceAccount>,
    pub(crate) projects: Cache<Project>,
    pub(crate) project_numbers: Cache<ProjectId>,
    groups: Groups,
}

impl IdentityState {
    pub(crate) fn new(groups: Groups) -> Self {
        Self {
            tokens: Cache::new(CACHED),
            accounts: Cache::new(CACHED),
            projects: Cache::new(CACHED),
            project_numbers: Cache::new(CACHED),
            groups,
        }
    }

    /// Drops what is cached of records that were written.
    pub(crate) fn forget(&self, written: &[String]) {
        let names = || written.iter().map(String::as_str);
        self.tokens.forget(names());
        self.accounts.forget(names());
        self.projects.forget(names());
        self.project_numbers.forget(names());
    }
}

impl KeyService {
    /// A record from memory, or with one read.
    pub(crate) async fn cached<T: DeserializeOwned>(
        &self,
        cache: &Cache<T>,
        record: &str,
    ) -> Result<Option<Arc<T>>, KmsError> {
        if let Some(value) = cache.get(record) {
            return Ok(Some(value));
        }
        let read_after = cache.epoch();
        let Some(stored) = self.read(record).await? else { return Ok(None) };
        let value = Arc::new(stored.value);
        cache.keep(record, &value, read_after);
        Ok(Some(value))
    }
}
