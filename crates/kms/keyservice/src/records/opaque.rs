//! Credentials that say nothing but who they are: `PREFIX_ID_SECRET`, with a public id of 16 hexadecimal digits, and 32 random bytes
//! in base64url as the secret. The store has the secret's SHA-256; a fast digest is enough, because nobody guesses 256 bits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use keystead_crypto::{CryptoFailed, Random, Secret32, SecretBytes, sha256};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// 64 bits: that two draw one id is noticed when the second is written.
const ID_LEN: usize = 8;
/// 32 bytes in base64 without padding.
const SECRET_LEN: usize = 43;
/// What stands behind the prefix, in bytes.
pub(crate) const TEXT_LEN: usize = 2 * ID_LEN + 1 + SECRET_LEN;

/// One that was presented. Hostile until its secret is compared.
pub(crate) struct Opaque<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: Secret32,
}

/// One that was drawn. The text is for its owner, the rest for the store.
pub(crate) struct Drawn {
    pub(crate) id: String,
    pub(crate) digest: Digest,
    pub(crate) text: SecretBytes,
}

/// SHA-256 of a secret, hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Digest(String);

impl<'a> Opaque<'a> {
    /// Reads one; each has exactly one text.
    pub(crate) fn parse(prefix: &str, text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(prefix)?.split_at_checked(2 * ID_LEN)?;
        if !is_id(id) {
            return None;
        }
        let secret = secret.strip_prefix('_').filter(|secret| secret.len() == SECRET_LEN)?;
        let secret = Secret32::fill_with(|bytes| match BASE64URL.decode_slice(secret, bytes) {
            Ok(32) => Ok(()),
            _ => Err(()),
        });
        Some(Self { id, secret: secret.ok()? })
    }
}

impl Digest {
    fn of(secret: &Secret32) -> Self {
        Self(hex::encode(sha256(secret.expose())))
    }

    /// Compares in constant time.
    pub(crate) fn is_of(&self, secret: &Secret32) -> bool {
        Self::of(secret).0.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

/// Whether a text is an id, as it stands in a record's name.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 2 * ID_LEN
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Draws one whose text begins with `prefix`.
pub(crate) fn draw(prefix: &str, random: &dyn Random) -> Result<Drawn, CryptoFailed> {
    let mut id = [0; ID_LEN];
    random.fill(&mut id)?;
    let id = hex::encode(id);
    let secret = Secret32::generate(random)?;
    let mut encoded = Zeroizing::new([0; SECRET_LEN]);
    BASE64URL.encode_slice(secret.expose(), encoded.as_mut_slice()).map_err(|_| CryptoFailed)?;
    // One allocation: growing would leave the secret behind.
    let mut text = Vec::with_capacity(prefix.len() + TEXT_LEN);
    text.extend_from_slice(prefix.as_bytes());
    text.extend_from_slice(id.as_bytes());
    text.push(b'_');
    text.extend_from_slice(encoded.as_slice());
    Ok(Drawn { digest: Digest::of(&secret), id, text: SecretBytes::from(text) })
}
