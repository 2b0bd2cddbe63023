//! Where a rollout goes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::configuration::{Configuration, Order, Provider, StoredAs};

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "goal")]
pub enum Goal {
    /// From plain values to a KMS entry.
    Enable {
        /// The KMS entry.
        to: Provider,
        /// Whether plain values stay readable at the end. Who can write to etcd can then plant them.
        keep_identity: bool,
    },
    /// From whatever is there to another provider or key.
    Migrate {
        /// What everything is stored with at the end.
        to: Provider,
        /// As for `Enable`.
        keep_identity: bool,
    },
    /// The same KMS v2 entry, another key.
    Rotate {
        /// The KMS entry.
        provider: Provider,
        /// The new key id. It must never have been in use before.
        to: String,
    },
    /// Back to plain values, without the flag.
    Disable,
    /// Back to an earlier configuration, without re-encryption.
    Undo {
        /// What all servers used then.
        to: Configuration,
    },
}

impl Goal {
    /// The provider that writes everywhere in the end.
    pub fn writer(&self) -> Provider {
        match self {
            Self::Enable { to, .. } | Self::Migrate { to, .. } => to.clone(),
            Self::Rotate { provider, .. } => provider.clone(),
            Self::Disable => Provider::Identity,
            Self::Undo { to } => to.order().writer,
        }
    }

    /// Whether every API server has `--encryption-provider-config` at the end.
    pub fn sets_flag(&self) -> bool {
        self.end() != Some(Configuration::NoEncryption)
    }

    /// The key id that must be used; none: any of the writer's.
    pub(super) fn key_id(&self) -> Option<&str> {
        match self {
            Self::Rotate { to, .. } => Some(to),
            _ => None,
        }
    }

    /// The configuration of every server at the end; none: as it is.
    pub(crate) fn end(&self) -> Option<Configuration> {
        match self {
            Self::Enable { to, keep_identity } | Self::Migrate { to, keep_identity } => {
                let keep = *keep_identity && *to != Provider::Identity;
                let readers = keep.then_some(Provider::Identity).into_iter().collect();
                Some(Configuration::Providers(Order { writer: to.clone(), readers }))
            }
            Self::Rotate { .. } => None,
            Self::Disable => Some(Configuration::NoEncryption),
            Self::Undo { to } => Some(to.clone()),
        }
    }

    /// Whether a value that is stored in this way may stay so.
    pub fn leaves(&self, stored_as: &StoredAs) -> bool {
        match self {
            Self::Undo { to } => to.order().reads(&stored_as.provider),
            _ => self.is_written_as(stored_as),
        }
    }

    /// Whether a server that writes in this way has arrived.
    pub(super) fn is_written_as(&self, stored_as: &StoredAs) -> bool {
        stored_as.provider == self.writer()
            && self.key_id().is_none_or(|it| stored_as.key_id.as_deref() == Some(it))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enable { to, .. } => write!(f, "enable encryption with {to}"),
            Self::Migrate { to, .. } => write!(f, "migrate to {to}"),
            Self::Rotate { provider, to } => write!(f, "rotate {provider} to key id {to}"),
            Self::Disable => f.write_str("disable encryption"),
            Self::Undo { to } => write!(f, "go back to {to}"),
        }
    }
}
