use keystead_model::{Principal, is_email};

use crate::InvalidPolicy;

/// Who a binding names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// `user:EMAIL` or `serviceAccount:EMAIL`.
    Principal(Principal),
    /// `group:EMAIL`.
    Group(String),
    /// `allAuthenticatedUsers`: whoever this server has authenticated.
    AllAuthenticatedUsers,
}

impl Member {
    /// Reads a member; e-mail addresses are folded to lower case, so that one identity has one text.
    pub fn parse(text: &str) -> Result<Self, InvalidPolicy> {
        let shown = || text.chars().take(200).collect::<String>();
        if text == "allAuthenticatedUsers" {
            return Ok(Self::AllAuthenticatedUsers);
        }
        if text == "allUsers" {
            return Err(InvalidPolicy::Public);
        }
        let Some((kind, email)) = text.split_once(':') else {
            return Err(InvalidPolicy::MemberKind { member: shown() });
        };
        match kind {
            "user" | "serviceAccount" => match text.parse() {
                Ok(principal) => Ok(Self::Principal(principal)),
                Err(_) => Err(InvalidPolicy::MemberEmail { member: shown() }),
            },
            "group" if is_email(email) => Ok(Self::Group(email.to_ascii_lowercase())),
            "group" => Err(InvalidPolicy::MemberEmail { member: shown() }),
            "domain" => Err(InvalidPolicy::Domain { member: shown() }),
            "deleted" => Err(InvalidPolicy::Deleted { member: shown() }),
            _ => Err(InvalidPolicy::MemberKind { member: shown() }),
        }
    }
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Principal(principal) => principal.fmt(f),
            Self::Group(email) => write!(f, "group:{email}"),
            Self::AllAuthenticatedUsers => f.write_str("allAuthenticatedUsers"),
        }
    }
}
