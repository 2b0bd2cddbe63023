//! Opaque tokens: `ks_ID_SECRET`, as `opaque.rs` has it. The id is public.

use jiff::Timestamp;
use keystead_crypto::{CryptoFailed, Random, Secret32, SecretBytes};
use keystead_model::Principal;
use serde::{Deserialize, Serialize};

use super::opaque::{Digest, Drawn, draw};
use super::usage::LastUse;

pub(crate) const PREFIX: &str = "ks_";

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
    digest: Digest,
    /// The unique id of the service account: another one of the same address is not its owner.
    pub(crate) account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoke_time: Option<Timestamp>,
}

impl StoredToken {
    /// Compares in constant time.
    pub(crate) fn has_secret(&self, secret: &Secret32) -> bool {
        self.digest.is_of(secret)
    }
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
    let Drawn { id, digest, text } = draw(PREFIX, random)?;
    let TokenFor { principal, description, account, create_time, expire_time } = made_for;
    let token = Token { id, principal, description, create_time, expire_time, last_use: None };
    Ok((StoredToken { token, digest, account, revoke_time: None }, text))
}

#[cfg(test)]
mod tests {
    use keystead_crypto::{SystemRandom, sha256};

    use super::*;
    use crate::records::opaque::Opaque;

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
        let bearer = Opaque::parse(PREFIX, &text).expect("a token");
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
            assert!(Opaque::parse(PREFIX, &bad).is_none(), "{bad}");
        }
    }
}
