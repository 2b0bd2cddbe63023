//! The EncryptionConfiguration that reads a snapshot, as text to fill in.

use std::collections::BTreeMap;

use super::plan::{Need, RestorePlan};
use crate::encryption_configuration::{EncryptionConfiguration, Provider as FileProvider};
use crate::etcd_path::resource_at;
use crate::rollout::Provider;

/// What stands where a key has to be filled in: kube-apiserver does not start with it.
const KEY: &str = "FILL IN the key in base64";
/// What stands where a socket has to be filled in.
const ENDPOINT: &str = "unix:///FILL-IN/kms.sock";

/// The text, or none if nothing is encrypted. It has one entry, because kube-apiserver takes a KMS entry's name only once. `today` decides
/// the order of the providers that it has, and gives the endpoints of its KMS entries; keys are never copied out of it.
pub fn configuration(plan: &RestorePlan, today: Option<&EncryptionConfiguration>) -> Option<String> {
    let encrypted = |need: &&Need| need.stored_as.provider != Provider::Identity;
    let mut resources: Vec<&str> =
        plan.needs.iter().filter(encrypted).map(|need| need.resource.as_str()).collect();
    resources.dedup();
    if resources.is_empty() {
        return None;
    }
    let mut text = String::from(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources:\n",
    );
    for resource in &resources {
        text.push_str(&format!("  - {}\n", quoted(&resource_at(resource).to_string())));
    }
    text.push_str("  providers:\n");
    for Group { kind, names } in groups(plan, today) {
        write(&mut text, kind, &names, today);
    }
    let is_plain = |need: &Need| {
        need.stored_as.provider == Provider::Identity && resources.contains(&need.resource.as_str())
    };
    if plan.needs.iter().any(is_plain) {
        text.push_str("  - identity: {}\n");
    }
    Some(text)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    KmsV2,
    Secretbox,
    AesGcm,
    AesCbc,
    KmsV1,
}

/// One provider of the list: a KMS entry, or all keys of one cipher.
struct Group {
    kind: Kind,
    names: Vec<String>,
}

/// Those of today's file in its order, then the others: the better cipher first, then what has more objects.
fn groups(plan: &RestorePlan, today: Option<&EncryptionConfiguration>) -> Vec<Group> {
    let mut objects: BTreeMap<(Kind, &str), u64> = BTreeMap::new();
    for need in &plan.needs {
        if let Some(provider) = kind_and_name(&need.stored_as.provider) {
            *objects.entry(provider).or_default() += need.objects;
        }
    }
    let order = today.map(in_file).unwrap_or_default();
    let mut all: Vec<((Kind, &str), u64)> = objects.into_iter().collect();
    all.sort_by_key(|((kind, name), objects)| {
        let at = order.iter().position(|it| (it.0, it.1.as_str()) == (*kind, *name));
        (at.unwrap_or(usize::MAX), *kind, std::cmp::Reverse(*objects))
    });
    let mut groups: Vec<Group> = Vec::new();
    for ((kind, name), _) in all {
        let is_kms = [Kind::KmsV1, Kind::KmsV2].contains(&kind);
        match groups.iter_mut().find(|it| it.kind == kind && !is_kms) {
            Some(group) => group.names.push(name.to_owned()),
            None => groups.push(Group { kind, names: vec![name.to_owned()] }),
        }
    }
    groups
}

fn kind_and_name(provider: &Provider) -> Option<(Kind, &str)> {
    Some(match provider {
        Provider::Identity => return None,
        Provider::AesCbc { key } => (Kind::AesCbc, key),
        Provider::AesGcm { key } => (Kind::AesGcm, key),
        Provider::Secretbox { key } => (Kind::Secretbox, key),
        Provider::KmsV1 { name } => (Kind::KmsV1, name),
        Provider::KmsV2 { name } => (Kind::KmsV2, name),
    })
}

fn in_file(today: &EncryptionConfiguration) -> Vec<(Kind, String)> {
    use crate::encryption_configuration::KmsVersion::{V1, V2};
    let mut all = Vec::new();
    for provider in today.entries().iter().flat_map(|entry| &entry.providers) {
        let (kind, keys) = match &provider.provider {
            FileProvider::Identity => continue,
            FileProvider::Kms(kms) => {
                let kind = match kms.api_version {
                    V1 => Kind::KmsV1,
                    V2 => Kind::KmsV2,
                };
                all.push((kind, kms.name.clone()));
                continue;
            }
            FileProvider::AesCbc(keys) => (Kind::AesCbc, keys),
            FileProvider::AesGcm(keys) => (Kind::AesGcm, keys),
            FileProvider::Secretbox(keys) => (Kind::Secretbox, keys),
        };
        all.extend(keys.iter().map(|key| (kind, key.name.clone())));
    }
    all
}

fn write(text: &mut String, kind: Kind, names: &[String], today: Option<&EncryptionConfiguration>) {
    let version = match kind {
        Kind::KmsV1 => "v1",
        Kind::KmsV2 => "v2",
        Kind::AesCbc | Kind::AesGcm | Kind::Secretbox => {
            let word = match kind {
                Kind::AesCbc => "aescbc",
                Kind::AesGcm => "aesgcm",
                _ => "secretbox",
            };
            text.push_str(&format!("  - {word}:\n      keys:\n"));
            for name in names {
                text.push_str(&format!("      - name: {}\n        secret: {}\n", quoted(name), quoted(KEY)));
            }
            return;
        }
    };
    for name in names {
        let (mut endpoint, mut timeout) = (ENDPOINT.to_owned(), None);
        let providers = today.into_iter().flat_map(|it| it.entries()).flat_map(|entry| &entry.providers);
        for provider in providers {
            if let FileProvider::Kms(kms) = &provider.provider
                && kms.name == *name
                && kms.api_version.to_string() == version
            {
                endpoint = kms.endpoint.as_str().to_owned();
                timeout = Some(kms.timeout);
            }
        }
        text.push_str(&format!(
            "  - kms:\n      apiVersion: {version}\n      name: {}\n      endpoint: {}\n",
            quoted(name),
            quoted(&endpoint)
        ));
        if let Some(timeout) = timeout {
            text.push_str(&format!("      timeout: {}ms\n", timeout.as_millis()));
        }
    }
}

/// A scalar of YAML in double quotes: whatever a name has in it, it stays a name.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            other => quoted.push_str(&format!("\\U{:08X}", u32::from(other))),
        }
    }
    quoted.push('"');
    quoted
}
