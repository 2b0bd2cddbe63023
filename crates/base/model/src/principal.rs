//! Who calls.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An authenticated identity, written as the member of an IAM binding: `user:EMAIL` or `serviceAccount:EMAIL`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// A person.
    User(String),
    /// A program.
    ServiceAccount(String),
}

impl Principal {
    /// The e-mail address: what audit records name.
    pub fn email(&self) -> &str {
        match self {
            Self::User(email) | Self::ServiceAccount(email) => email,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(email) => write!(f, "user:{email}"),
            Self::ServiceAccount(email) => write!(f, "serviceAccount:{email}"),
        }
    }
}

/// A text that is not a principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a principal: user:EMAIL or serviceAccount:EMAIL")]
pub struct InvalidPrincipal(String);

impl FromStr for Principal {
    type Err = InvalidPrincipal;

    fn from_str(text: &str) -> Result<Self, InvalidPrincipal> {
        let parsed = match text.split_once(':') {
            Some(("user", email)) if is_email(email) => Some(Self::User(email.to_ascii_lowercase())),
            Some(("serviceAccount", email)) if is_email(email) => {
                Some(Self::ServiceAccount(email.to_ascii_lowercase()))
            }
            _ => None,
        };
        parsed.ok_or_else(|| InvalidPrincipal(text.chars().take(200).collect()))
    }
}

impl TryFrom<String> for Principal {
    type Error = InvalidPrincipal;

    fn try_from(text: String) -> Result<Self, InvalidPrincipal> {
        text.parse()
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.to_string()
    }
}

/// Whether a text can be the address of a principal or a group: one `@`, printable ASCII without spaces, at most 254 bytes
/// (RFC 5321's limit of a path, less its brackets).
pub fn is_email(text: &str) -> bool {
    let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
    let parts = text.split_once('@');
    text.len() <= 254
        && graphic
        && parts.is_some_and(|(name, domain)| {
            !name.is_empty() && !domain.is_empty() && !domain.contains('@') && !name.contains(':')
        })
}
