//! Opaque tokens of our server: `ks_<id>_<32 random bytes, base64url>`. The id is public, the rest is not.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, Zeroizing};

/// What every token starts with.
const PREFIX: &str = "ks_";
/// Longest id, in bytes; far above what a server makes.
const MAX_ID_LEN: usize = 64;
/// 32 bytes in base64url without padding.
const SECRET_LEN: usize = 43;

/// The public id of a token: 1 to 64 letters, digits and hyphens. It says which of several tokens is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenId(String);

/// A whole token. It cannot be printed.
#[derive(Clone)]
pub struct Token {
    id: TokenId,
    text: Zeroizing<String>,
}

impl TokenId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if text.is_empty() || text.len() > MAX_ID_LEN || !text.bytes().all(legal) {
            return Err(InvalidToken);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Token {
    /// Whether a text was meant to be a whole token, well formed or not. Such a text must not be shown.
    pub fn is_meant_by(text: &str) -> bool {
        text.trim_start().starts_with(PREFIX)
    }

    /// The public part.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    pub(crate) fn expose(&self) -> &str {
        &self.text
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (id, secret) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(InvalidToken)?;
        let mut bytes = [0; 32];
        let decoded = URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes);
        bytes.zeroize();
        if secret.len() != SECRET_LEN || decoded != Ok(32) {
            return Err(InvalidToken);
        }
        Ok(Self { id: id.parse()?, text: Zeroizing::new(text.to_owned()) })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, ..)", self.id)
    }
}

/// Not a token or the id of one. The text is not repeated, because it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has the form ks_<id>_<43 characters>, its id 1 to 64 letters, digits and hyphens")]
pub struct InvalidToken;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdH-8";

    #[test]
    fn a_token_is_taken_apart_and_never_printed() {
        let token: Token = format!("ks_4f3a2b_{SECRET}").parse().expect("a token");
        assert_eq!(token.id().as_str(), "4f3a2b");
        assert!(!format!("{token:?}").contains("AAEC"));
        // The alphabet of the secret has the separator in it.
        let with_underscores = SECRET.replace("AAEC", "A_E_");
        assert!(format!("ks_4f3a2b_{with_underscores}").parse::<Token>().is_ok());
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            String::new(),
            "ks_".to_owned(),
            format!("ks__{SECRET}"),
            format!("ks_a b_{SECRET}"),
            format!("kt_abc_{SECRET}"),
            format!("ks_abc_{SECRET}A"),
            format!("ks_abc_{}", &SECRET[1..]),
            format!("ks_abc_{}=", &SECRET[1..]),
            // Bits beyond the last byte.
            format!("ks_abc_{}9", &SECRET[..42]),
            format!("ks_abc_{SECRET}\n"),
            format!("ks_{}_{SECRET}", "a".repeat(65)),
        ] {
            assert!(text.parse::<Token>().is_err(), "{text:?}");
        }
        assert!(
            Token::is_meant_by("ks_broken") && Token::is_meant_by(" ks_x") && !Token::is_meant_by("4f3a2b")
        );
    }
}
