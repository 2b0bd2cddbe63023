//! What it takes to read a snapshot.

use std::collections::BTreeMap;

use keystead_etcd::stored::Stored;
use keystead_etcd::{Age, Layout, MalformedObject, Snapshot};
use serde::Serialize;

use super::decrypt::DecryptError;
use super::opener::{Opener, Unopened};
use crate::rollout::{Provider, StoredAs};
use crate::stored_values::stored_as;

/// What it takes.
#[derive(Debug, Serialize)]
pub struct RestorePlan {
    /// The newest in the file.
    pub revision: i64,
    /// By resource, then by the way in which values are stored.
    pub needs: Vec<Need>,
    /// Objects that nobody can read.
    pub malformed: u64,
    /// The first ten of them.
    pub malformed_keys: Vec<MalformedObject>,
    /// Values in no row, because there are more than 10,000 ways in which values are stored: no cluster has that by itself.
    pub left_out: u64,
}

/// What some values need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// As in the etcd key: `secrets`, `cert-manager.io/certificates`.
    pub resource: String,
    /// Provider, and key id of KMS v2.
    pub stored_as: StoredAs,
    /// Objects that an API server reads after a restore.
    pub objects: u64,
    /// Values that were replaced or deleted, and are in the file until etcd compacts.
    pub old_revisions: u64,
    /// Whether what was given reads them.
    pub proof: Proof,
}

/// Whether values of one kind can be read with what was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Proof {
    /// They are not encrypted.
    Plain,
    /// Nothing was given that could.
    NotTried,
    /// One of them was opened.
    Reads,
    /// Neither of those that were tried was opened.
    Fails {
        /// Why the last one was not.
        reason: String,
    },
}

impl RestorePlan {
    /// Whether objects are in the file that cannot be read: by what was given for it, or by anybody.
    pub fn has_unreadable(&self) -> bool {
        let fails = |need: &Need| need.objects > 0 && matches!(need.proof, Proof::Fails { .. });
        self.malformed > 0 || self.needs.iter().any(fails)
    }
}

/// Reads a snapshot and opens one value of each kind, as far as `opener` can. A value that does not open may have been changed, so
/// that up to five of a kind are tried.
///
/// # Errors
///
/// The file is damaged, or a plugin does not answer.
pub fn plan(
    snapshot: &Snapshot,
    layout: &Layout,
    resources: &[String],
    opener: &mut Opener,
) -> Result<RestorePlan, DecryptError> {
    let prefixes = layout.prefixes(resources);
    let mut found = Found::default();
    let mut unreachable = None;
    let revisions = snapshot.for_each(|stored| {
        let is_wanted = prefixes.iter().any(|it| stored.key.starts_with(it.as_bytes()));
        if !is_wanted || unreachable.is_some() {
            return;
        }
        let is_current = stored.age == Age::Current;
        let value = match Stored::parse(stored.value, &layout.known_names) {
            Ok(value) => value,
            Err(problem) if is_current => return found.malformed(stored.key, problem.to_string()),
            Err(_) => return,
        };
        let Some(way) = found.count(layout.resource_of(stored.key), &value, is_current) else { return };
        let trial = found.trials.entry(way).or_default();
        if trial.attempts < ATTEMPTS && trial.proof != Some(Proof::Reads) {
            trial.attempts += 1;
            trial.proof = Some(match opener.open(stored.key, &value, stored.value) {
                Ok(_) if matches!(value, Stored::Plain(_)) => Proof::Plain,
                Ok(_) => Proof::Reads,
                Err(Unopened::NoPlugin(_)) if !opener.has_plugins() => Proof::NotTried,
                Err(Unopened::NoKeys { .. }) => Proof::NotTried,
                Err(problem @ Unopened::Unreachable { .. }) => {
                    unreachable = Some(problem);
                    return;
                }
                Err(problem) => Proof::Fails { reason: problem.to_string() },
            });
        }
    })?;
    match unreachable {
        Some(problem) => Err(DecryptError::Plugin(problem)),
        None => Ok(found.finish(revisions.last)),
    }
}

#[derive(Default)]
struct Found {
    /// Objects and old revisions.
    counts: BTreeMap<(String, StoredAs), [u64; 2]>,
    trials: BTreeMap<StoredAs, Trial>,
    malformed: u64,
    malformed_keys: Vec<MalformedObject>,
    left_out: u64,
}

#[derive(Default)]
struct Trial {
    attempts: u32,
    proof: Option<Proof>,
}

impl Found {
    fn count(&mut self, resource: String, value: &Stored, is_current: bool) -> Option<StoredAs> {
        let way = stored_as(value);
        let place = (resource, way.clone());
        if self.counts.len() >= WAYS_MAX && !self.counts.contains_key(&place) {
            self.left_out += 1;
            return None;
        }
        let [objects, old] = self.counts.entry(place).or_default();
        *(if is_current { objects } else { old }) += 1;
        Some(way)
    }

    fn malformed(&mut self, key: &[u8], reason: String) {
        self.malformed += 1;
        if self.malformed_keys.len() < NAMED_MAX {
            let key = String::from_utf8_lossy(key.get(..KEY_MAX).unwrap_or(key)).into_owned();
            self.malformed_keys.push(MalformedObject { key, reason });
        }
    }

    fn finish(self, revision: i64) -> RestorePlan {
        let Self { counts, trials, malformed, malformed_keys, left_out } = self;
        let proof = |way: &StoredAs| match trials.get(way).and_then(|it| it.proof.clone()) {
            Some(proof) => proof,
            None if way.provider == Provider::Identity => Proof::Plain,
            None => Proof::NotTried,
        };
        let needs = counts.into_iter().map(|((resource, stored_as), [objects, old_revisions])| {
            let proof = proof(&stored_as);
            Need { resource, stored_as, objects, old_revisions, proof }
        });
        RestorePlan { revision, needs: needs.collect(), malformed, malformed_keys, left_out }
    }
}

const ATTEMPTS: u32 = 5;
/// At most 5 KiB each: 50 MiB in all. A real cluster has some hundred.
const WAYS_MAX: usize = 10_000;
const NAMED_MAX: usize = 10;
const KEY_MAX: usize = 1024;
