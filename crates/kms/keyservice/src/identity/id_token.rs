use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use keystead_crypto::{CryptoFailed, Secret32, hkdf_sha256};

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
