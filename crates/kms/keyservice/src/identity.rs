//! What callers show: what keys of service accounts sign, access tokens that this is exchanged for, client certificates; and the
//! groups that a caller is in. Whether it counts is decided in `authentication.rs`.

mod certificate;
mod groups;
pub(crate) mod issued_tokens;
pub(crate) mod refusal;
pub(crate) mod signed;

use keystead_crypto::{CryptoFailed, Secret32};

pub(crate) use certificate::URI_PREFIX;
pub use certificate::{ClientIdentity, InvalidCertificate};
pub(crate) use groups::Groups;
pub use groups::{GroupsError, check_groups};

use issued_tokens::{AccessTokens, IdTokens};
use signed::GoodBearer;

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
