//! Which versions of a key of a key management service a snapshot needs.

use std::collections::BTreeMap;

use keystead_crypto::{Envelope, sha256};
use keystead_etcd::stored::Stored;
use keystead_etcd::{Snapshot, SnapshotError};
use keystead_model::{KeyReference, KeyVersion};
use serde::Serialize;

/// What a snapshot holds under the versions of one key, and beside them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct NeededVersions {
    /// Values by number of the version, old revisions too.
    pub versions: BTreeMap<u64, u64>,
    /// Values under key ids that are not of this key, at most 100 ids.
    pub elsewhere: BTreeMap<String, u64>,
    /// Values under more such ids.
    pub elsewhere_left_out: u64,
    /// Values of KMS v1 that do not say in a way that is known here which key they are under.
    pub unknown: u64,
}

/// Counts what a file holds, wherever in it: of KMS v2 by its key id, of KMS v1 by what our plugin writes into what it wraps.
/// `key` is the full name as the plugin has it in its settings, because that is part of each key id.
///
/// # Errors
///
/// The file is damaged.
pub fn needed_versions(snapshot: &Snapshot, key: &str) -> Result<NeededVersions, SnapshotError> {
    let wanted = reference(key);
    let mut needed = NeededVersions::default();
    snapshot.for_each(|stored| match Stored::parse(stored.value, &[]) {
        Ok(Stored::KmsV2(value)) => {
            needed.add(value.seed.key_id.parse().ok(), &value.seed.key_id, wanted.as_ref())
        }
        Ok(Stored::KmsV1(value)) => match Envelope::parse(&value.wrapped_key) {
            Ok(envelope) => {
                let found = envelope.key_reference();
                needed.add(Some(found.clone()), found.as_str(), wanted.as_ref());
            }
            Err(_) => needed.unknown += 1,
        },
        _ => (),
    })?;
    Ok(needed)
}

impl NeededVersions {
    fn add(&mut self, found: Option<KeyReference>, key_id: &str, wanted: Option<&KeyReference>) {
        let is_wanted = |it: &KeyReference| wanted.is_some_and(|wanted| wanted.is_same_key(it));
        let number = found.filter(is_wanted).and_then(|it| it.version().as_str().parse().ok());
        let count = match number {
            Some(number) => self.versions.entry(number).or_default(),
            None if self.elsewhere.len() < ELSEWHERE_MAX || self.elsewhere.contains_key(key_id) => {
                self.elsewhere.entry(key_id.to_owned()).or_default()
            }
            None => &mut self.elsewhere_left_out,
        };
        *count += 1;
    }
}

/// Any version of the key, as the plugin's provider `cloudkms` names it.
fn reference(key: &str) -> Option<KeyReference> {
    let digest = sha256(format!("cloudkms\0{key}").as_bytes());
    let (digest, _) = digest.split_first_chunk()?;
    KeyReference::new("cloudkms", KeyVersion::from(1), None, None, *digest).ok()
}

const ELSEWHERE_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use keystead_model::{KeyVersion, Material};
    use keystead_provider::Description;

    use super::{NeededVersions, reference};

    const KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";

    #[test]
    fn key_ids_of_the_plugin_are_versions_of_their_key_only() {
        let id = |kind, key: &str, version: &str| {
            let description = Description { kind, key_name: key.to_owned() };
            let version = KeyVersion::new(version).expect("a version");
            description.reference(version, Some(3), Some(Material([1; 4]))).expect("a reference").to_string()
        };
        let (other, wanted) = (format!("{KEY}2"), reference(KEY));
        let mut needed = NeededVersions::default();
        let foreign =
            [id("cloudkms", &other, "7"), id("local", KEY, "7"), id("cloudkms", KEY, "x"), "a/b".to_owned()];
        for key_id in [id("cloudkms", KEY, "7"), id("cloudkms", KEY, "12"), id("cloudkms", KEY, "7")]
            .iter()
            .chain(&foreign)
        {
            needed.add(key_id.parse().ok(), key_id, wanted.as_ref());
        }
        assert_eq!(needed.versions, [(7, 2), (12, 1)].into());
        assert_eq!(needed.elsewhere, foreign.map(|it| (it, 1)).into());
    }
}
