//! Who calls, and with what: opaque tokens, what keys of service accounts sign, access tokens that this is exchanged for,
//! client certificates, and the accounts and groups behind them. Read `authenticate.rs` first.
//!
//! Records are remembered by name until they are written again, so that a revocation counts from the next request on.

mod access_token;
mod account_email;
mod account_keys;
mod account_name;
mod authenticate;
mod certificate;
mod create_account;
mod create_account_key;
mod create_token;
mod delete_account;
mod exchange_token;
mod groups;
mod list_tokens;
mod refusal;
mod revoke_token;
mod service_account;
mod service_account_key;
mod signed;
mod token;
mod update_account;
mod view_accounts;

use std::sync::Arc;

use keystead_crypto::{CryptoFailed, Secret32};
use serde::de::DeserializeOwned;

pub(crate) use account_email::cluster as cluster_account_email;
pub use account_keys::{DeleteServiceAccountKey, GetServiceAccountKey, ListServiceAccountKeys};
pub use account_name::AccountName;
pub use authenticate::Presented;
pub use certificate::{ClientIdentity, InvalidCertificate};
pub use create_account::CreateServiceAccount;
pub use create_account_key::{CreateServiceAccountKey, NewServiceAccountKey};
pub use create_token::{CreateToken, NewToken};
pub use delete_account::DeleteServiceAccount;
pub use exchange_token::{TokenAnswer, TokenRefusal};
pub use groups::GroupsError;
pub use list_tokens::{ListTokens, TokenPage};
pub use revoke_token::RevokeToken;
pub use service_account::ServiceAccount;
pub use service_account_key::ServiceAccountKey;
pub use token::Token;
pub use update_account::{SwitchServiceAccount, UpdateServiceAccount};
pub use view_accounts::{AccountPage, GetServiceAccount, ListServiceAccounts};

pub(crate) use certificate::URI_PREFIX;
pub(crate) use groups::Groups;
pub(crate) use token::{StoredToken, TokenFor, mint};

use access_token::AccessTokens;
use exchange_token::IdTokens;
use signed::GoodBearer;

use crate::remembered::Cache;
use crate::{KeyService, KmsError};

/// Signed tokens in memory, of about 400 bytes each.
const CACHED: usize = 10_000;

/// What authentication keeps in memory.
pub(crate) struct IdentityState {
    /// By the digest of the whole token. A signature that was right stays right; its key is asked every time.
    bearers: Cache<GoodBearer>,
    access_tokens: AccessTokens,
    id_tokens: IdTokens,
    groups: Groups,
}

impl IdentityState {
    pub(crate) fn new(groups: Groups, store_key: &Secret32) -> Result<Self, CryptoFailed> {
        Ok(Self {
            bearers: Cache::new(CACHED),
            access_tokens: AccessTokens::new(store_key)?,
            id_tokens: IdTokens::new(store_key)?,
            groups,
        })
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
