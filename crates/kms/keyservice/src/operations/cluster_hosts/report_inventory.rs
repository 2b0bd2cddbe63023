use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use keystead_audit::SafeFields;
use keystead_crypto::sha256;
use keystead_iam::Permission;
use keystead_model::{
    Cluster, CryptoKeyName, ErrorClass, KeyReference, KeyVersion, VersionNumber, to_microseconds,
};
use keystead_store::Batch;

use super::report_host::{require_joined, too_often};
use super::{calling_host, method};
use crate::records::usage::Inventory;
use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// The kind of the plugin's provider that uses keys here, as its key ids begin.
const PROVIDER: &str = "cloudkms";
/// Most key ids in one inventory: each rotation makes one, and re-encryption leaves one.
const MAX_KEY_IDS: usize = 1000;
/// A host's clock may be ahead of ours by this.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// A cluster's inventory is written at most once in this time, whichever of its hosts counts.
const INVENTORY_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// How many values a cluster's etcd holds under each version of the keys that the cluster needs: says which versions it can do without. A host
/// that lies can have a version destroyed that its own cluster needs, which whoever is root there can do without a version of a key.
pub struct ReportInventory {
    /// When the host began to count. Required.
    pub observe_time: Option<Timestamp>,
    /// Values by the key id that they say.
    pub under: BTreeMap<String, u64>,
    /// Values that are encrypted and do not say with which version of a key: by KMS v1, or damaged. With one of them nothing is known.
    pub unattributed: u64,
}

impl Operation for ReportInventory {
    type Output = ();

    fn method(&self) -> Method {
        method("ReportInventory", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let name = calling_host(authorised)?;
        let (service, now) = (authorised.service(), to_microseconds(authorised.now()));
        require_joined(authorised, &service.read_host(&name).await?.value)?;
        let Self { observe_time, under, unattributed } = authorised.command();
        let observe_time = observe_time.ok_or_else(|| KmsError::invalid("observe_time is required."))?;
        if observe_time.duration_since(now) > MAX_AHEAD {
            let text = format!(
                "observe_time {observe_time} is in the future: the server's clock says {now}. Correct the clock of the host that counted."
            );
            return Err(KmsError::invalid(text));
        }
        if under.len() > MAX_KEY_IDS {
            let text = format!("An inventory has {MAX_KEY_IDS} key ids at most, not {}.", under.len());
            return Err(KmsError::invalid(text));
        }
        if *unattributed > 0 {
            let text = format!(
                "{unattributed} encrypted values do not say which version of a key they are under, so that the inventory says nothing of any."
            );
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        let references = references(under)?;
        let stored = service.read_cluster(&name.cluster).await?;
        let cluster = &stored.value;
        let (source, time) = (Inventory::source_of(cluster), observe_time.min(now));
        let needed = cluster.needed_to_read();
        let others = cluster.counted_keys.iter().filter(|key| !needed.contains(key));
        let mut batch = Batch::default();
        let (mut counted, mut said) = (Vec::new(), Vec::new());
        for key in needed.iter().chain(others) {
            let record = record_name::inventory(key, &source);
            let before = service.read::<Inventory>(&record).await?;
            let last = before.as_ref().map(|it| it.value.observe_time);
            if last.is_some_and(|last| now.duration_since(last).abs() < INVENTORY_AFTER) {
                return Err(too_often(INVENTORY_AFTER));
            }
            // One that was counted before says less, unless the later one is of a clock that was ahead.
            if last.is_some_and(|last| last >= time && last <= now) {
                counted.push(key.clone());
                continue;
            }
            let counts = counts(key, &references)?;
            said.push(format!(
                "{key}: {} objects under {} versions",
                counts.values().sum::<u64>(),
                counts.len()
            ));
            if counts.is_empty() && !needed.contains(key) {
                // The cluster has left the key, and nothing is under it: it is as if it never had it.
                if let Some(before) = before {
                    batch = batch.delete(record, before.revision);
                }
                continue;
            }
            service.prove_uses(key, time).await?;
            let inventory = Inventory { source: source.clone(), observe_time: time, counts };
            batch = batch.put(record, encode(&inventory)?);
            counted.push(key.clone());
        }
        if batch.writes.is_empty() && counted == cluster.counted_keys {
            authorised.outcome().unrecorded = true;
            return Ok(());
        }
        // Also where it stays as it is: an inventory of a cluster that is deleted meanwhile would be nobody's, and kept for ever.
        let changed = Cluster { counted_keys: counted, ..cluster.clone() };
        batch = batch.replace(record_name::cluster(&name.cluster), stored.revision, encode(&changed)?);
        authorised.outcome().response = SafeFields::new().with("counted", said.join("; ").as_str());
        authorised.commit(batch).await?;
        Ok(())
    }
}

/// What is no key id of a plugin of ours is of another provider.
fn references(under: &BTreeMap<String, u64>) -> Result<Vec<(KeyReference, u64)>, KmsError> {
    let longest = under.keys().map(String::len).max().unwrap_or_default();
    // kube-apiserver refuses more: `EncryptedObject.keyID`.
    if longest > 1024 {
        return Err(KmsError::invalid(format!("A key id has 1,024 bytes at most, not {longest}.")));
    }
    Ok(under.iter().filter_map(|(id, objects)| Some((id.parse().ok()?, *objects))).collect())
}

/// By version, of one key.
fn counts(
    key: &CryptoKeyName,
    references: &[(KeyReference, u64)],
) -> Result<BTreeMap<VersionNumber, u64>, KmsError> {
    let digest = sha256([PROVIDER, "\0", &key.to_string()].concat().as_bytes());
    let bug = || KmsError::new(ErrorClass::Bug, "a key cannot be referred to");
    let digest: [u8; 8] = digest.get(..8).and_then(|it| it.try_into().ok()).ok_or_else(bug)?;
    let any = KeyVersion::new("1").map_err(|_| bug())?;
    let of_key = KeyReference::new(PROVIDER, any, None, None, digest).map_err(|_| bug())?;
    let mut counts = BTreeMap::new();
    for (reference, objects) in references.iter().filter(|(it, _)| it.is_same_key(&of_key)) {
        let number = reference.version().to_string().parse().ok().map(VersionNumber);
        let number = number.ok_or_else(|| {
            KmsError::invalid(format!("Key id {reference} has no number of a version of key {key}."))
        })?;
        // Chosen twice, a version has two key ids.
        let sum: &mut u64 = counts.entry(number).or_default();
        *sum = sum.saturating_add(*objects);
    }
    Ok(counts)
}
