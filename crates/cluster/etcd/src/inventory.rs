//! Counts of stored objects by resource, provider and key id.

use std::collections::{BTreeMap, HashSet};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use serde::Serialize;

use crate::connection::ReadError;
use crate::scan::Scanner;
use crate::stored::{PlainFormat, StaticCipher, StaticKey, Stored};

/// Scans to the end and counts; each page is asked for before the one in front of it is counted. Memory does not grow with the number of
/// objects.
///
/// # Errors
///
/// Where etcd does not answer. Values that nobody can read are counted and named in the result.
pub async fn inventory(scanner: &mut Scanner, layout: &Layout) -> Result<StoredCounts, ReadError> {
    let mut tally = Tally::new(layout.clone());
    let mut page = scanner.next_page().await?;
    while let Some(read) = page {
        // etcd reads the next one while we count this one, which is gone before the next one is here.
        let count = || read.entries.into_iter().for_each(|entry| tally.add(&entry.key, &entry.value));
        page = overlap(scanner.next_page(), count).await?;
    }
    let revisions = scanner.revisions();
    Ok(StoredCounts {
        first_revision: revisions.map(|(first, _)| first),
        last_revision: revisions.map(|(_, last)| last),
        ..tally.finish()
    })
}

/// Makes a call, does some work while it is under way, and waits for its answer.
async fn overlap<T>(call: impl Future<Output = T>, work: impl FnOnce()) -> T {
    let mut call = pin!(call);
    let early = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
    work();
    match early {
        Poll::Ready(answer) => answer,
        Poll::Pending => call.await,
    }
}

/// What the flags and the EncryptionConfiguration of kube-apiserver say about what is stored.
#[derive(Clone, Debug)]
pub struct Layout {
    /// `--etcd-prefix`, by default `/registry`.
    pub etcd_prefix: String,
    /// Names of providers and static keys: see [`Stored::parse`].
    pub known_names: Vec<String>,
}

impl Layout {
    /// The part of an etcd key that names the resource: `secrets`, `services/specs`, `cert-manager.io/certificates`. At most its first
    /// 1024 bytes.
    pub fn resource_of(&self, key: &[u8]) -> String {
        resource_of(key, &self.etcd_prefix)
    }
}

/// What is stored, and how. Equal contents give equal text, in a stable order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredCounts {
    /// The revision of the first page, or of the snapshot.
    pub first_revision: Option<i64>,
    /// The revision of the last page, or of the snapshot: not the first one where etcd was compacted during the scan.
    pub last_revision: Option<i64>,
    /// All of them.
    pub objects: u64,
    /// By resource, then by encryption.
    pub groups: Vec<Group>,
    /// Objects in no group, because there are more than 10,000 groups, which no real cluster has.
    pub objects_left_out: u64,
    /// How many different wrapped seeds the KMS v2 values carry: the Decrypt calls needed to read them all. KMS v1
    /// values have one each.
    pub wrapped_seeds: u64,
    /// There are more than `wrapped_seeds`; counting stopped there.
    pub wrapped_seeds_are_more: bool,
    /// The first 100 values that no kube-apiserver can read, in the order of their keys. The groups count them all.
    pub malformed: Vec<MalformedObject>,
}

/// Objects of one resource that are stored in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The part of the etcd key that names the resource: `secrets`, `services/specs`,
    /// `cert-manager.io/certificates`.
    pub resource: String,
    /// The way in which all of them are stored.
    pub encryption: Encryption,
    /// How many.
    pub objects: u64,
    /// Of the stored values together.
    pub bytes: u64,
}

/// How an object is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Encryption {
    /// Not encrypted.
    Plain {
        /// How it is written.
        format: PlainFormat,
    },
    /// With a key in the EncryptionConfiguration.
    StaticKey {
        /// The cipher that the value names.
        cipher: StaticCipher,
        /// The name of the key in the EncryptionConfiguration.
        key_name: String,
    },
    /// KMS v1 does not say which KEK.
    KmsV1 {
        /// The name of the KMS entry.
        provider: String,
    },
    /// KMS v2.
    KmsV2 {
        /// The name of the KMS entry.
        provider: String,
        /// The plugin's name for the KEK.
        key_id: String,
    },
    /// As an encrypted value that no kube-apiserver can read.
    Malformed,
}

/// A value that no kube-apiserver can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MalformedObject {
    /// The etcd key, at most its first 1024 bytes.
    pub key: String,
    /// In words.
    pub reason: String,
}

/// An inventory that is still being counted, from any source of keys and values.
#[derive(Debug)]
pub struct Tally {
    layout: Layout,
    groups: BTreeMap<(String, Encryption), (u64, u64)>,
    objects: u64,
    left_out: u64,
    seeds: HashSet<[u8; 16]>,
    seeds_are_more: bool,
    /// By key and by number, because keys are cut.
    malformed: BTreeMap<(String, u64), String>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { etcd_prefix: "/registry".to_owned(), known_names: Vec::new() }
    }
}

impl Layout {
    /// What the keys of these resources start with, each key once; of all resources where none is named. A resource is named
    /// as in [`Group::resource`].
    pub fn prefixes(&self, resources: &[String]) -> Vec<String> {
        // kube-apiserver puts the first `/` where the flag has none.
        let root = match self.etcd_prefix.trim_matches('/') {
            "" => "/".to_owned(),
            prefix => format!("/{prefix}/"),
        };
        let named = resources.iter().map(|resource| format!("{root}{}/", resource.trim_matches('/')));
        let mut prefixes: Vec<String> =
            if resources.is_empty() { vec![root.clone()] } else { named.collect() };
        prefixes.sort();
        // Behind the one that holds it.
        prefixes.dedup_by(|later, kept| later.starts_with(kept.as_str()));
        prefixes
    }
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            groups: BTreeMap::new(),
            objects: 0,
            left_out: 0,
            seeds: HashSet::new(),
            seeds_are_more: false,
            malformed: BTreeMap::new(),
        }
    }

    /// Counts one stored value.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.objects += 1;
        let encryption = match Stored::parse(value, &self.layout.known_names) {
            Ok(stored) => self.encryption_of(stored),
            Err(reason) => {
                // Those with the smallest keys, in whatever order they come.
                self.malformed.insert((readable(key), self.objects), reason.to_string());
                if self.malformed.len() > MALFORMED_MAX {
                    self.malformed.pop_last();
                }
                Encryption::Malformed
            }
        };
        let group = (resource_of(key, &self.layout.etcd_prefix), encryption);
        let full = self.groups.len() >= GROUPS_MAX;
        let bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
        match self.groups.get_mut(&group) {
            Some(counts) => *counts = (counts.0 + 1, counts.1.saturating_add(bytes)),
            None if full => self.left_out += 1,
            None => {
                self.groups.insert(group, (1, bytes));
            }
        }
    }

    /// What was counted. It has no revisions: those are the scan's.
    pub fn finish(self) -> StoredCounts {
        let groups = self.groups.into_iter().map(|((resource, encryption), (objects, bytes))| Group {
            resource,
            encryption,
            objects,
            bytes,
        });
        let malformed = self.malformed.into_iter().map(|((key, _), reason)| MalformedObject { key, reason });
        StoredCounts {
            first_revision: None,
            last_revision: None,
            objects: self.objects,
            groups: groups.collect(),
            objects_left_out: self.left_out,
            wrapped_seeds: u64::try_from(self.seeds.len()).unwrap_or(u64::MAX),
            wrapped_seeds_are_more: self.seeds_are_more,
            malformed: malformed.collect(),
        }
    }

    fn encryption_of(&mut self, stored: Stored) -> Encryption {
        match stored {
            Stored::Plain(format) => Encryption::Plain { format },
            Stored::StaticKey(StaticKey { cipher, key_name, .. }) => {
                Encryption::StaticKey { cipher, key_name }
            }
            Stored::KmsV1(value) => Encryption::KmsV1 { provider: value.provider },
            Stored::KmsV2(value) => {
                let fingerprint = value.seed.fingerprint();
                if self.seeds.len() < SEEDS_MAX {
                    self.seeds.insert(fingerprint);
                } else if !self.seeds.contains(&fingerprint) {
                    self.seeds_are_more = true;
                }
                Encryption::KmsV2 { provider: value.provider, key_id: value.seed.key_id }
            }
        }
    }
}

/// The first part of the key behind the etcd prefix, and the second too where the first is an API group (it has a
/// dot) or one of Kubernetes' own with parts. The last part is an object's name and never belongs to it.
fn resource_of(key: &[u8], etcd_prefix: &str) -> String {
    let key = key.get(..KEY_MAX).unwrap_or(key);
    // kube-apiserver puts the first `/` where the flag has none.
    let key = key.strip_prefix(b"/").unwrap_or(key);
    let below = key.strip_prefix(etcd_prefix.trim_matches('/').as_bytes()).unwrap_or(key);
    let below = below.strip_prefix(b"/").unwrap_or(below);
    let mut parts = below.split(|byte| *byte == b'/');
    let first = parts.next().unwrap_or_default();
    let two = first.contains(&b'.') || WITH_PARTS.contains(&first);
    match parts.next().filter(|_| two) {
        Some(second) => format!("{}/{}", readable(first), readable(second)),
        None => readable(first),
    }
}

fn readable(key: &[u8]) -> String {
    String::from_utf8_lossy(key.get(..KEY_MAX).unwrap_or(key)).into_owned()
}

/// `services/specs` and `services/endpoints`, `ranges/serviceips` and `ranges/servicenodeports`.
const WITH_PARTS: [&[u8]; 2] = [b"services", b"ranges"];

/// Bytes of a key that are kept. Those of real objects have at most some 600: three names of up to 253 bytes.
const KEY_MAX: usize = 1024;

/// A real cluster has some hundred resources, with a few encryptions each. At most 3 KiB each: 30 MiB in all.
const GROUPS_MAX: usize = 10_000;

/// 16 bytes each: with the table's free places 4 MiB. A real cluster has a seed for each start of an API server.
const SEEDS_MAX: usize = 100_000;

const MALFORMED_MAX: usize = 100;
