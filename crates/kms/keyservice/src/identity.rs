//! Who calls, and with what: opaque tokens, what keys of service accounts sign, access tokens that this is exchanged for,
//! client certificates, and the accounts and groups behind them. Read `authenticate.rs` first.
//!
//! Records are remembered by name until they are written again, so that a revocation counts from the next request on.

pub(crate) mod access_token;
mod certificate;
mod groups;
pub(crate) mod refusal;

use keystead_crypto::{CryptoFailed, Secret32};

pub(crate) use certificate::URI_PREFIX;
pub use certificate::{ClientIdentity, InvalidCertificate};
pub(crate) use groups::Groups;
pub use groups::GroupsError;

use access_token::AccessTokens;

use crate::authentication::signed::GoodBearer;
use crate::operations::IdTokens;
use crate::remembered::Cache;

/// Signed tokens in memory, of about 400 bytes each.
const CACHED: usize = 10_000;

/// What authentication keeps in memory.
pub(crate) struct IdentityState {
    /// By the digest of the whole token. A signature that was right stays right; its key is asked every time.
    pub(crate) bearers: Cache<GoodBearer>,
    pub(crate) access_tokens: AccessTokens,
    pub(crate) id_tokens: IdTokens,
    pub(crate) groups: Groups,
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
