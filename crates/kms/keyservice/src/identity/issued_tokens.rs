//! What a signed token is exchanged for: an access token, or an id token. Their keys are derived from the store key, so that they
//! count after a restart.
//!
//! An access token, `ksa_CLAIMS.TAG`, holds all that it says and fills no database. Key and account behind it are asked every time.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::Timestamp;
use keystead_crypto::{CryptoFailed, Secret32, SecretBytes, hkdf_sha256};
use serde::{Deserialize, Serialize};

pub(crate) const ACCESS_PREFIX: &str = "ksa_";
/// How long either counts, in seconds, as Google's.
pub(crate) const LIFE_S: i64 = 3600;

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    #[serde(rename = "e")]
    pub(crate) email: String,
    #[serde(rename = "k")]
    pub(crate) key_id: String,
    /// Seconds since 1970.
    #[serde(rename = "x")]
    expires: i64,
}

/// Makes and checks access tokens.
pub(crate) struct AccessTokens(hmac::Key);

impl AccessTokens {
    pub(crate) fn new(store_key: &Secret32) -> Result<Self, CryptoFailed> {
        let key =
            Secret32::fill_with(|key| hkdf_sha256(store_key.expose(), b"", b"keystead access token 1", key))?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
    }

    pub(crate) fn issue(&self, email: &str, key_id: &str, now: Timestamp) -> Option<SecretBytes> {
        let claims = AccessClaims {
            email: email.to_owned(),
            key_id: key_id.to_owned(),
            expires: now.as_second() + LIFE_S,
        };
        let claims = BASE64URL.encode(serde_json::to_vec(&claims).ok()?);
        let tag = BASE64URL.encode(hmac::sign(&self.0, claims.as_bytes()));
        Some(SecretBytes::from([ACCESS_PREFIX, &claims, ".", &tag].concat().into_bytes()))
    }

    /// What a token says, if we issued it.
    pub(crate) fn check(&self, text: &str) -> Option<AccessClaims> {
        let (claims, tag) = text.strip_prefix(ACCESS_PREFIX)?.split_once('.')?;
        // Compared in constant time, before anything is read.
        hmac::verify(&self.0, claims.as_bytes(), &BASE64URL.decode(tag).ok()?).ok()?;
        serde_json::from_slice(&BASE64URL.decode(claims).ok()?).ok()
    }
}

impl AccessClaims {
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires <= now.as_second()
    }
}

/// Signs id tokens, with a key that is derived from the store key.
pub(crate) struct IdTokens(Ed25519KeyPair);

impl IdTokens {
    pub(crate) fn new(store_key: &Secret32) -> Result<Self, CryptoFailed> {
        let seed =
            Secret32::fill_with(|seed| hkdf_sha256(store_key.expose(), b"", b"keystead id token 1", seed))?;
        Ed25519KeyPair::from_seed_unchecked(seed.expose()).map(Self).map_err(|_| CryptoFailed)
    }

    pub(crate) fn sign(&self, claims: &serde_json::Value) -> Option<String> {
        let header = BASE64URL.encode(br#"{"alg":"EdDSA","typ":"JWT"}"#);
        let claims = BASE64URL.encode(serde_json::to_vec(claims).ok()?);
        let signed = format!("{header}.{claims}");
        let signature = BASE64URL.encode(self.0.try_sign(signed.as_bytes()).ok()?);
        Some(format!("{signed}.{signature}"))
    }
}
