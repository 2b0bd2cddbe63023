//! What must be true after a crash.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use keystead_audit::{Head, Reader, verify};
use reqwest::Method;
use serde_json::{Value, json};

use super::load::{Client, key, version_of};
use super::{KEYS, Numbers};

/// Older ciphertexts that are opened after each crash, besides all new ones; at the end all are.
const SAMPLE: usize = 10;

/// Compares what the server says with what clients were told. Nobody changes anything meanwhile.
pub(super) async fn state(client: &Client, numbers: &mut Numbers) {
    for number in 0..KEYS {
        let found = client.ok("GetCryptoKey", Method::GET, &key(number), None).await;
        let policy =
            client.ok("GetIamPolicy", Method::GET, &format!("{}:getIamPolicy", key(number)), None).await;
        let listed = versions(client, number).await;
        let new: Vec<u64> = {
            let mut known = client.known.get();
            let known = &mut known.keys[number];
            known.primary.settle(version_of(&found["primary"]["name"]), "the primary");
            let member = policy["bindings"][0]["members"][0].as_str().unwrap_or_default();
            known.policy.settle(member.to_owned(), "the policy");
            // Nothing that was answered or seen is missing, and no number was skipped.
            let numbers: Vec<u64> = listed.keys().copied().collect();
            assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "versions of key {number}");
            for version in &known.versions {
                assert!(listed.contains_key(version), "version {version} of key {number} is gone");
            }
            let new = listed.keys().filter(|version| !known.versions.contains(version)).copied().collect();
            for (version, enabled) in &listed {
                known.versions.insert(*version);
                let what = format!("whether version {version} of key {number} is enabled");
                match known.enabled.get_mut(version) {
                    Some(told) => told.settle(*enabled, &what),
                    None => drop(known.enabled.insert(*version, told(*enabled))),
                }
            }
            new
        };
        // Made without an acknowledgement: whole, or not there.
        for version in new {
            let path = format!("{}/cryptoKeyVersions/{version}:encrypt", key(number));
            client.ok("Encrypt", Method::POST, &path, Some(json!({ "plaintext": "bmV3" }))).await;
        }
        ciphertexts(client, number, numbers).await;
    }
}

fn told(enabled: bool) -> super::known::Told<bool> {
    super::known::Told { acknowledged: enabled, asked: None }
}

async fn versions(client: &Client, number: usize) -> BTreeMap<u64, bool> {
    let mut found = BTreeMap::new();
    let mut token = String::new();
    loop {
        let path = format!("{}/cryptoKeyVersions?pageSize=1000&pageToken={token}", key(number));
        let page = client.ok("ListCryptoKeyVersions", Method::GET, &path, None).await;
        for version in page["cryptoKeyVersions"].as_array().into_iter().flatten() {
            found.insert(version_of(&version["name"]), version["state"] == "ENABLED");
        }
        match page["nextPageToken"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => return found,
        }
    }
}

/// New ciphertexts, and some old ones: each opens, unless its version is disabled.
async fn ciphertexts(client: &Client, number: usize, numbers: &mut Numbers) {
    let (chosen, enabled) = {
        let mut known = client.known.get();
        let known = &mut known.keys[number];
        let (old, new) = known.sealed.split_at(known.checked);
        let sample = (0..SAMPLE).filter_map(|_| old.get(numbers.index(old.len())));
        let chosen: Vec<_> = new.iter().chain(sample).cloned().collect();
        known.checked = known.sealed.len();
        (chosen, known.enabled.clone())
    };
    for sealed in &chosen {
        let status = client.decrypt(number, sealed).await.expect("an answer");
        let enabled = enabled[&sealed.version].acknowledged;
        assert_eq!(status == 200, enabled, "version {} of key {number}: {status}", sealed.version);
    }
}

/// With every version enabled, everything opens that was ever sealed.
pub(super) async fn every_ciphertext(client: &Client) {
    for number in 0..KEYS {
        let (sealed, versions) = {
            let known = client.known.get();
            (known.keys[number].sealed.clone(), known.keys[number].versions.clone())
        };
        for version in versions {
            let path = format!("{}/cryptoKeyVersions/{version}?updateMask=state", key(number));
            let enable = json!({ "state": "ENABLED" });
            client.ok("UpdateCryptoKeyVersion", Method::PATCH, &path, Some(enable)).await;
        }
        for sealed in &sealed {
            assert_eq!(client.decrypt(number, sealed).await, Some(200), "version {}", sealed.version);
        }
    }
}

/// The audit log, read from where it was left.
pub(super) struct Audit {
    dir: PathBuf,
    /// What was verified last; it must stay in the log.
    head: Head,
    /// The last record that was read.
    read: u64,
    /// Every id and its method since the first start.
    seen: HashMap<String, String>,
}

impl Audit {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, head: Head::NONE, read: 0, seen: HashMap::new() }
    }

    /// The chain is whole, no call has two records, and each of these has one. Answers how many those are.
    pub(super) fn check(&mut self, acknowledged: &[(String, &'static str)]) -> usize {
        let mut reader = Reader::after(&self.dir, self.read);
        let verified = verify(&self.dir, Some(&self.head)).unwrap_or_else(|error| panic!("{error}"));
        assert!(verified.head_found, "what was in the log before the crash is not there");
        while let Some(line) = reader.next_record().expect("a record") {
            self.read = line.sequence;
            let record: Value = serde_json::from_str(&line.text).expect("JSON");
            if let Some(id) = record["insertId"].as_str() {
                let method = record["protoPayload"]["methodName"].as_str().unwrap_or_default().to_owned();
                let before = self.seen.insert(id.to_owned(), method);
                assert!(before.is_none(), "the call {id} is recorded twice");
            }
        }
        self.head = verified.head;
        for (id, method) in acknowledged {
            assert_eq!(self.seen.get(id).map(String::as_str), Some(*method), "the record of call {id}");
        }
        acknowledged.len()
    }
}
