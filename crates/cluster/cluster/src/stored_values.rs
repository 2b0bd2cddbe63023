//! What is stored of one resource, counted in etcd, with one wrapped seed of each key id; and whose etcd it is.

use std::collections::BTreeMap;

use keystead_etcd::stored::{StaticCipher, Stored as StoredValue};
use keystead_etcd::{Etcd, Layout, ReadError};

use crate::encryption_configuration::GroupResource;
use crate::etcd_path::etcd_path;
use crate::kms_socket::Wrapped;
use crate::rollout::{Count, Provider, StoredAs};

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredValues {
    /// etcd's revision when it began.
    pub revision: i64,
    /// By the way in which they are stored.
    pub counts: Vec<Count>,
    /// Values that no API server can read.
    pub malformed: u64,
    /// One wrapped seed for each KMS v2 entry and key id, for plugins to show that they unwrap it.
    pub seeds: Vec<(Provider, Wrapped)>,
}

/// Scans to the end. Memory grows with the number of ways, never with that of objects.
///
/// # Errors
///
/// Where etcd does not answer.
pub async fn count(
    etcd: &Etcd,
    layout: &Layout,
    resource: &GroupResource,
) -> Result<StoredValues, ReadError> {
    let mut counts: BTreeMap<StoredAs, u64> = BTreeMap::new();
    let mut seeds: BTreeMap<StoredAs, Wrapped> = BTreeMap::new();
    let mut malformed = 0;
    let mut scanner = etcd.scan_all(&layout.prefixes(&[etcd_path(resource)]));
    while let Some(page) = scanner.next_page().await? {
        for entry in &page.entries {
            let Ok(value) = StoredValue::parse(&entry.value, &layout.known_names) else {
                malformed += 1;
                continue;
            };
            let stored_as = stored_as(&value);
            if counts.len() >= WAYS_MAX && !counts.contains_key(&stored_as) {
                malformed += 1;
                continue;
            }
            *counts.entry(stored_as.clone()).or_default() += 1;
            if let StoredValue::KmsV2(value) = value
                && seeds.len() < SEEDS_MAX
                && !seeds.contains_key(&stored_as)
            {
                let seed = value.seed;
                let (ciphertext, annotations) = (seed.ciphertext, seed.annotations);
                seeds.insert(
                    stored_as,
                    Wrapped { key_id: seed.key_id, ciphertext, annotations, digest: None },
                );
            }
        }
    }
    let counts = counts.into_iter().map(|(stored_as, objects)| Count { stored_as, objects }).collect();
    Ok(StoredValues {
        revision: scanner.revisions().map_or(0, |(first, _)| first),
        counts,
        malformed,
        seeds: seeds.into_iter().map(|(stored_as, seed)| (stored_as.provider, seed)).collect(),
    })
}

/// Whether this etcd holds the cluster with this uid of kube-system below this prefix. Of a namespace that is encrypted nothing can be
/// said, and it counts as the one.
///
/// # Errors
///
/// etcd does not answer.
pub async fn is_of_cluster(etcd: &Etcd, etcd_prefix: &str, uid: &str) -> Result<bool, ReadError> {
    let key = format!("/{}/namespaces/kube-system", etcd_prefix.trim_matches('/'));
    let entry = etcd.get(key.as_bytes()).await?;
    Ok(entry.is_some_and(|it| {
        it.value.starts_with(b"k8s:enc:")
            || it.value.windows(uid.len().max(1)).any(|part| part == uid.as_bytes())
    }))
}

/// The way in which a value is stored.
pub fn stored_as(value: &StoredValue) -> StoredAs {
    let way = |provider| StoredAs { provider, key_id: None };
    match value {
        StoredValue::Plain(_) => way(Provider::Identity),
        StoredValue::StaticKey(value) => {
            let key = value.key_name.clone();
            way(match value.cipher {
                StaticCipher::AesCbc => Provider::AesCbc { key },
                StaticCipher::AesGcm => Provider::AesGcm { key },
                StaticCipher::Secretbox => Provider::Secretbox { key },
            })
        }
        StoredValue::KmsV1(value) => way(Provider::KmsV1 { name: value.provider.clone() }),
        StoredValue::KmsV2(value) => StoredAs {
            provider: Provider::KmsV2 { name: value.provider.clone() },
            key_id: Some(value.seed.key_id.clone()),
        },
    }
}

/// Key ids whose wrapped seed is kept: each is sent to each plugin at each look, and a cluster has a few.
const SEEDS_MAX: usize = 64;

/// More ways than any cluster has: whoever can write to etcd decides how many there are. What is beyond counts as unreadable.
const WAYS_MAX: usize = 10_000;
