//! How a cluster's encryption stood at one moment, for somebody who was not there: counts, names of providers and ids of keys, and no name
//! or content of an object. [`docs/formats/evidence.md`](../../../../docs/formats/evidence.md) has the bytes.
//!
//! A report alone proves nothing. [`signed`] makes a file of it that shows who vouches for it, and checks such a file without a cluster.

pub mod signed;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::executor::InUse;
use crate::rollout::{Answer, Configuration, Inventory, Loaded, Observed, Provider, Server, Stored};

/// What a report is of.
pub const TYPE: &str = "keystead-cluster-evidence";
/// The form of it that this program writes and reads.
pub const FORMAT: u32 = 1;

/// A report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// [`TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// [`FORMAT`].
    pub format: u32,
    /// Fingerprint of the key that signs it, as [`signed::fingerprint`] has it.
    pub signer: String,
    /// When it was made, by the clock of the host that made it.
    pub time: Timestamp,
    /// The program that made it, and its version.
    pub program: String,
    /// Uid of the namespace kube-system, which a cluster has for life.
    pub cluster: String,
    /// What was promised, in words.
    pub promise: String,
    /// Who promised it.
    pub promised_by: PromisedBy,
    /// Whether that holds: there are no findings.
    pub holds: bool,
    /// What does not hold, in words.
    pub findings: Vec<String>,
    /// Every API server that is known.
    pub api_servers: Vec<ApiServerEvidence>,
    /// What etcd stores, by resource.
    pub stored: Vec<StoredEvidence>,
}

/// Where a promise comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromisedBy {
    /// The last rollout on this host.
    Rollout,
    /// The files of the API servers: no rollout was known.
    Files,
}

/// One API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiServerEvidence {
    /// Name of the host.
    pub name: String,
    /// Its own address.
    pub address: String,
    /// As it says itself, such as `v1.37.2`.
    pub version: Option<String>,
    /// Why it does not serve; none: it does.
    pub not_ready: Option<String>,
    /// What it uses now, the provider that writes first; empty without encryption, and none if that is not known.
    pub providers: Option<Vec<String>>,
    /// SHA-256 in hexadecimal digits of the EncryptionConfiguration that it uses, by its own word; from Kubernetes 1.34 on.
    pub configuration_in_use: Option<String>,
    /// The same of the file on its host.
    pub configuration_file: Option<String>,
    /// The KMS plugins of its host.
    pub plugins: Vec<PluginEvidence>,
}

/// One plugin, asked at its socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginEvidence {
    /// The KMS entry.
    pub provider: String,
    /// What is wrong with it; none: it wrapped and unwrapped.
    pub unhealthy: Option<String>,
    /// The key id that it reports; KMS v2 only.
    pub key_id: Option<String>,
    /// The key id that the API server saw last, or `sha256:` and its digest.
    pub key_id_seen: Option<String>,
}

/// What is stored of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredEvidence {
    /// As an EncryptionConfiguration names it.
    pub resource: String,
    /// Why it was not counted; none: it was.
    pub not_counted: Option<String>,
    /// etcd's revision when the count began.
    pub revision: Option<i64>,
    /// How many objects there are, those included that cannot be read.
    pub objects: u64,
    /// How many of them are not encrypted.
    pub plain: u64,
    /// How many of them no API server can read.
    pub unreadable: u64,
    /// How the readable ones are stored.
    pub ways: Vec<WayEvidence>,
}

/// So many objects are stored in this way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WayEvidence {
    /// `identity` is plain text.
    pub provider: String,
    /// The id of the key inside; KMS v2 only.
    pub key_id: Option<String>,
    /// How many.
    pub objects: u64,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Uid of the namespace kube-system.
    pub cluster: String,
    /// What was promised, in words.
    pub promise: String,
    /// Who promised it.
    pub promised_by: PromisedBy,
    /// What does not hold.
    pub findings: Vec<String>,
}

impl Evidence {
    /// A report of what was found and seen. `signer` is filled in by whoever signs.
    pub fn new(
        time: Timestamp,
        program: String,
        verification: Verification,
        observed: &Observed,
        in_use: &BTreeMap<String, InUse>,
    ) -> Self {
        let Verification { cluster, promise, promised_by, findings } = verification;
        Self {
            kind: TYPE.to_owned(),
            format: FORMAT,
            signer: String::new(),
            time,
            program,
            cluster,
            promise,
            promised_by,
            holds: findings.is_empty(),
            findings,
            api_servers: observed.servers.iter().map(|it| api_server(it, in_use.get(&it.name))).collect(),
            stored: observed.stored.iter().map(stored).collect(),
        }
    }
}

fn api_server(server: &Server, in_use: Option<&InUse>) -> ApiServerEvidence {
    ApiServerEvidence {
        name: server.name.clone(),
        address: server.address.clone(),
        version: in_use.and_then(|it| it.version.clone()),
        not_ready: match &server.answer {
            Answer::Ready => None,
            Answer::NotReady { reason } | Answer::Silent { reason } => Some(reason.clone()),
        },
        providers: match &server.loaded {
            Loaded::Known(Configuration::NoEncryption) => Some(Vec::new()),
            Loaded::Known(Configuration::Providers(order)) => {
                Some(order.providers().map(ToString::to_string).collect())
            }
            Loaded::OneOf(_) | Loaded::NotRunning | Loaded::Unknown => None,
        },
        configuration_in_use: in_use.and_then(|it| it.configuration.clone()),
        configuration_file: in_use.and_then(|it| it.file.clone()),
        plugins: server
            .plugins
            .iter()
            .map(|plugin| PluginEvidence {
                provider: plugin.provider.to_string(),
                unhealthy: plugin.unhealthy.clone(),
                key_id: plugin.reports.clone(),
                key_id_seen: plugin.seen.clone(),
            })
            .collect(),
    }
}

fn stored(stored: &Stored) -> StoredEvidence {
    let mut evidence = StoredEvidence {
        resource: stored.resource.clone(),
        not_counted: None,
        revision: None,
        objects: 0,
        plain: 0,
        unreadable: 0,
        ways: Vec::new(),
    };
    match &stored.inventory {
        Inventory::NotTaken => evidence.not_counted = Some("nobody counted".to_owned()),
        Inventory::NoAccess { reason } => evidence.not_counted = Some(reason.clone()),
        Inventory::Counted { revision, counts, malformed, .. } => {
            evidence.revision = Some(*revision);
            evidence.unreadable = *malformed;
            evidence.objects = *malformed;
            for count in counts {
                evidence.objects += count.objects;
                if count.stored_as.provider == Provider::Identity {
                    evidence.plain += count.objects;
                }
                evidence.ways.push(WayEvidence {
                    provider: count.stored_as.provider.to_string(),
                    key_id: count.stored_as.key_id.clone(),
                    objects: count.objects,
                });
            }
        }
    }
    evidence
}
