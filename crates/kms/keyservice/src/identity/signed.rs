//! What keys of service accounts sign: JSON Web Tokens (RFC 7519), and what they must say.

use jiff::Timestamp;
use serde::Deserialize;

use super::refusal;
use crate::KmsError;

/// The longest life of a signed token, in seconds, as Google's.
const MAX_LIFE_S: i64 = 3600;
/// How far the clocks of client and server may be apart, in seconds.
const LEEWAY_S: i64 = 60;
/// Scopes with which the APIs of this server may be called.
pub(crate) const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/cloudkms"];

/// What a signed token says, once its signature is right.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: Option<String>,
    #[serde(default)]
    pub(crate) aud: Audience,
    pub(crate) exp: i64,
    pub(crate) iat: Option<i64>,
    scope: Option<String>,
    pub(crate) target_audience: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Audience {
    /// Google's Go client signs an empty audience where it asks for a scope, over gRPC.
    pub(crate) fn is_none(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(one) => one.is_empty(),
            Self::Many(_) => false,
        }
    }

    /// Every audience that is named must be ours: what is signed for others too is not for us alone.
    pub(crate) fn fits(&self, ours: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => ours(one),
            Self::Many(many) => !many.is_empty() && many.iter().all(|one| ours(one)),
        }
    }
}

/// A token whose signature is right.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) claims: Claims,
    pub(crate) key_id: String,
}

/// What is remembered of a bearer token that was good once: what must be asked every time. It is a few hundred bytes whatever
/// the token holds.
#[derive(Debug)]
pub(crate) struct GoodBearer {
    pub(crate) email: String,
    pub(crate) key_id: String,
    pub(crate) exp: i64,
    pub(crate) iat: Option<i64>,
}

/// Refuses a token that is over, that lives too long, or that is of the future.
pub(crate) fn check_times(exp: i64, iat: Option<i64>, now: Timestamp) -> Result<(), KmsError> {
    let now = now.as_second();
    if exp.saturating_add(LEEWAY_S) <= now {
        return Err(refusal::expired("the signed token"));
    }
    if exp > now + MAX_LIFE_S + LEEWAY_S {
        return Err(refusal::unfit("the signed token lives longer than an hour"));
    }
    if iat.is_some_and(|iat| iat > now + LEEWAY_S) {
        return Err(refusal::unfit("the signed token is of the future; check the clock"));
    }
    Ok(())
}

impl Claims {
    /// Whether it asks for a scope with which this server's APIs may be called.
    pub(crate) fn has_scope(&self) -> bool {
        let scopes = self.scope.as_deref().unwrap_or_default();
        scopes.split(' ').any(|scope| SCOPES.contains(&scope))
    }
}
