//! Opaque tokens: `ks_ID_SECRET`, where the id is 16 hexadecimal digits and public, and the secret is 32 random bytes in
//! base64url. The server keeps the secret's SHA-256; a fast digest is enough, because nobody guesses 256 bits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::Timestamp;
use keystead_crypto::{CryptoFailed, Random, Secret32, SecretBytes, sha256};
use keystead_model::Principal;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::usage::LastUse;

const PREFIX: &str = "ks_";
/// 64 bits: that two tokens draw one id is noticed when the second is written.
const ID_LEN: usize = 8;
/// 32 bytes in base64 without padding.
const SECRET_LEN: usize = 43;

/// What everybody who may list tokens sees of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Public: `KMS_USER_ID`, and what audit records name.
    pub id: String,
    /// Who authenticates with it.
    pub principal: Principal,
    /// A text for people. Nothing depends on it.
    pub description: String,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it stops counting; none: never.
    pub expire_time: Option<Timestamp>,
    /// To the hour; none: not since the server began to note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_use: Option<LastUse>,
}

/// A token as it is stored. The record of one that ended stays for a while, so that its owner is told what happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredToken {
    pub(crate) token: Token,
    /// SHA-256 of the secret, hexadecimal.
    digest: String,
    /// The unique id of the service account: another one of the same address is not its owner.
    pub(crate) account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoke_time: Option<Timestamp>,
}

impl StoredToken {
    /// Compares in constant time.
    pub(crate) fn has_secret(&self, secret: &Secret32) -> bool {
        digest(secret).as_bytes().ct_eq(self.digest.as_bytes()).into()
    }
}

/// A token that was presented. Hostile until its secret is compared.
pub(crate) struct Bearer<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: Secret32,
}

impl<'a> Bearer<'a> {
    /// Reads `ks_ID_SECRET`; one token has exactly one text.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_at_checked(2 * ID_LEN)?;
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

/// Whether a text is the id of a token, as it stands in a record's name.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 2 * ID_LEN
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What a token is made for.
pub(crate) struct TokenFor {
    pub(crate) principal: Principal,
    pub(crate) description: String,
    pub(crate) account: Option<String>,
    pub(crate) create_time: Timestamp,
    pub(crate) expire_time: Option<Timestamp>,
}

/// Draws a token. The text is for its owner, the record for the store.
pub(crate) fn mint(
    made_for: TokenFor,
    random: &dyn Random,
) -> Result<(StoredToken, SecretBytes), CryptoFailed> {
    let mut id = [0; ID_LEN];
    random.fill(&mut id)?;
    let id = hex::encode(id);
    let secret = Secret32::generate(random)?;
    let mut encoded = Zeroizing::new([0; SECRET_LEN]);
    BASE64URL.encode_slice(secret.expose(), encoded.as_mut_slice()).map_err(|_| CryptoFailed)?;
    // One allocation: growing would leave the secret behind.
    let mut text = Vec::with_capacity(PREFIX.len() + id.len() + 1 + SECRET_LEN);
    text.extend_from_slice(PREFIX.as_bytes());
    text.extend_from_slice(id.as_bytes());
    text.push(b'_');
    text.extend_from_slice(encoded.as_slice());
    let TokenFor { principal, description, account, create_time, expire_time } = made_for;
    let token = Token { id, principal, description, create_time, expire_time, last_use: None };
    let stored = StoredToken { token, digest: digest(&secret), account, revoke_time: None };
    Ok((stored, SecretBytes::from(text)))
}

fn digest(secret: &Secret32) -> String {
    hex::encode(sha256(secret.expose()))
}

#[cfg(test)]
mod tests {
    use keystead_crypto::SystemRandom;

    use super::*;

    fn minted() -> (StoredToken, String) {
        let made_for = TokenFor {
            principal: Principal::User("a@example.com".to_owned()),
            description: String::new(),
            account: None,
            create_time: Timestamp::UNIX_EPOCH,
            expire_time: None,
        };
        let (stored, text) = mint(made_for, &SystemRandom).expect("random");
        (stored, String::from_utf8(text.into_exposed()).expect("text"))
    }

    #[test]
    fn a_token_is_its_id_and_its_secret_and_only_the_digest_is_stored() {
        let (stored, text) = minted();
        assert_eq!(text.len(), 3 + 16 + 1 + 43);
        let bearer = Bearer::parse(&text).expect("a token");
        assert_eq!(bearer.id, stored.token.id);
        assert!(stored.has_secret(&bearer.secret));
        let record = serde_json::to_string(&stored).expect("json");
        assert!(!record.contains(&text[20..]), "the secret is in the record");
        assert!(record.contains(&hex::encode(sha256(bearer.secret.expose()))));
    }

    #[test]
    fn one_token_has_one_text() {
        let (_, text) = minted();
        for bad in [
            text.replace("ks_", "KS_"),
            format!("{text}="),
            format!(" {text}"),
            text[..62].to_owned(),
            text.replacen('_', "-", 1),
            // 43 characters are 258 bits: the last two must be 0.
            format!("{}B", &text[..62]),
            format!("ks_{}_{}", "A".repeat(16), &text[20..]),
            format!("ks_{}_{}", "../../etc/passwd", &text[20..]),
            String::new(),
        ] {
            assert!(Bearer::parse(&bad).is_none(), "{bad}");
        }
    }
}
