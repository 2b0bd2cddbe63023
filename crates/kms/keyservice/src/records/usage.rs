//! Uses: of a version, as this server and others have counted them, and of a credential.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use keystead_model::{Cluster, VersionNumber};
use serde::{Deserialize, Serialize};

/// What is stored of a version's use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredUsage {
    #[serde(default)]
    pub(crate) encrypts: u64,
    #[serde(default)]
    pub(crate) last_encrypt: Option<Timestamp>,
    #[serde(default)]
    pub(crate) decrypts: u64,
    #[serde(default)]
    pub(crate) last_decrypt: Option<Timestamp>,
}

impl StoredUsage {
    /// Whether nothing of the other is missing here.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.encrypts >= other.encrypts && self.decrypts >= other.decrypts
    }
}

/// That an older database was put back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// When the server went on from it.
    pub(crate) time: Timestamp,
    /// What backup destinations hold has not all come back yet.
    #[serde(default)]
    pub(crate) unfinished: bool,
}

/// What a version was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UseKind {
    Encrypt,
    Decrypt,
}

/// How many objects one source holds under each version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Whose objects these are: [`Inventory::source_of`] a cluster, or whatever else whoever counted calls it.
    pub source: String,
    /// When they were counted.
    pub observe_time: Timestamp,
    /// How many, by version.
    pub counts: BTreeMap<VersionNumber, u64>,
}

impl Inventory {
    /// The source of a cluster's own inventories. By its id, because another cluster can have its name later.
    pub fn source_of(cluster: &Cluster) -> String {
        ["cluster=", &cluster.id].concat()
    }
}

/// When and from where a credential was last used. Written at most once an hour: it may be older than the newest use by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// When.
    pub time: Timestamp,
    /// The other end of the connection, if there was one.
    pub address: Option<IpAddr>,
}
