//! Opens the objects of a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use keystead_etcd::stored::Stored;
use keystead_etcd::{Age, Layout, Snapshot, SnapshotError};
use serde::Serialize;

use super::object::ObjectLine;
use super::opener::{Opener, Unopened};
use crate::rollout::StoredAs;
use crate::stored_values::stored_as;

/// Which objects.
#[derive(Clone, Debug)]
pub enum Selection {
    /// Those whose keys start with one of these.
    Prefixes(Vec<String>),
    /// The one with this key.
    Key(Vec<u8>),
}

/// What became of the objects that were selected.
#[derive(Debug, Serialize)]
pub struct Decrypted {
    /// The newest in the file.
    pub revision: i64,
    /// How many were selected.
    pub objects: u64,
    /// How many were opened and given away.
    pub opened: u64,
    /// Of those, how many could have been changed unnoticed: stored in plain, under aescbc, or under KMS v1 by Kubernetes 1.24 or earlier.
    pub unauthenticated: u64,
    /// Not opened, or given away: not what was stored under their keys.
    pub tampered: u64,
    /// Why what was not opened was not, at most 100 reasons.
    pub failed: Vec<Failed>,
    /// Objects with other reasons.
    pub failed_otherwise: u64,
}

/// Objects that were not opened for one reason.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// In words.
    pub reason: String,
    /// They are not what was stored under their keys.
    pub tampered: bool,
    /// How many.
    pub objects: u64,
    /// The first ten of their keys.
    pub keys: Vec<String>,
}

/// Why there is no result. Whatever was given away before is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum DecryptError {
    /// The file.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The plugin is not there.
    #[error("{0}")]
    Plugin(Unopened),
    /// What was opened could not be given away.
    #[error("cannot write what was opened")]
    Write(#[source] io::Error),
}

/// Opens each selected object, as an API server that starts on the snapshot would read it, and gives it away. Old revisions are not
/// opened. Memory does not grow with the number of objects.
///
/// # Errors
///
/// The file is damaged, a plugin does not answer, or `take` fails. What cannot be opened is counted in the result instead.
pub fn decrypt(
    snapshot: &Snapshot,
    layout: &Layout,
    selection: &Selection,
    opener: &mut Opener,
    take: impl FnMut(ObjectLine) -> io::Result<()>,
) -> Result<Decrypted, DecryptError> {
    let mut run = Run { layout, opener, take, counts: Counts::default(), error: None };
    let revisions = snapshot.for_each(|stored| {
        let is_wanted = stored.age == Age::Current
            && match selection {
                Selection::Prefixes(all) => all.iter().any(|it| stored.key.starts_with(it.as_bytes())),
                Selection::Key(key) => stored.key == key,
            };
        if is_wanted && run.error.is_none() {
            run.one(stored.key, stored.value, stored.revision);
        }
    })?;
    match run.error {
        Some(error) => Err(error),
        None => Ok(run.counts.finish(revisions.last)),
    }
}

struct Run<'a, T> {
    layout: &'a Layout,
    opener: &'a mut Opener,
    take: T,
    counts: Counts,
    error: Option<DecryptError>,
}

impl<T: FnMut(ObjectLine) -> io::Result<()>> Run<'_, T> {
    fn one(&mut self, key: &[u8], raw: &[u8], revision: i64) {
        self.counts.objects += 1;
        let value = match Stored::parse(raw, &self.layout.known_names) {
            Ok(value) => value,
            Err(problem) => return self.counts.failed(Unopened::malformed(&problem), key),
        };
        let opened = match self.opener.open(key, &value, raw) {
            Ok(opened) => opened,
            Err(problem @ Unopened::Unreachable { .. }) => {
                self.error = Some(DecryptError::Plugin(problem));
                return;
            }
            Err(problem) => return self.counts.failed(problem, key),
        };
        let line = ObjectLine::new(key, revision, &opened.bytes);
        if !line.is_of(key) {
            return self.counts.failed(Unopened::Copied, key);
        }
        self.counts.opened += 1;
        self.counts.unauthenticated += u64::from(!opened.is_authentic);
        if matches!(value, Stored::StaticKey(_)) && self.counts.good_keys.len() < REASONS_MAX {
            self.counts.good_keys.insert(stored_as(&value));
        }
        self.error = (self.take)(line).err().map(DecryptError::Write);
    }
}

#[derive(Default)]
struct Counts {
    objects: u64,
    opened: u64,
    unauthenticated: u64,
    failed: BTreeMap<Unopened, (u64, Vec<String>)>,
    failed_otherwise: u64,
    tampered_otherwise: u64,
    /// Static keys that opened something: what they do not open was changed.
    good_keys: BTreeSet<StoredAs>,
}

impl Counts {
    fn failed(&mut self, reason: Unopened, key: &[u8]) {
        if self.failed.len() >= REASONS_MAX && !self.failed.contains_key(&reason) {
            self.failed_otherwise += 1;
            self.tampered_otherwise += u64::from(reason.is_tampered());
            return;
        }
        let (objects, keys) = self.failed.entry(reason).or_default();
        *objects += 1;
        if keys.len() < KEYS_MAX {
            keys.push(String::from_utf8_lossy(key.get(..KEY_MAX).unwrap_or(key)).into_owned());
        }
    }

    fn finish(self, revision: i64) -> Decrypted {
        let failed: Vec<Failed> = self
            .failed
            .into_iter()
            .map(|(reason, (objects, keys))| {
                let changed = is_changed(&reason, &self.good_keys);
                let text = match &reason {
                    Unopened::WrongKey { name, .. } if changed => {
                        format!("the value was changed or copied: the key {name:?} opens others")
                    }
                    _ => reason.to_string(),
                };
                Failed { reason: text, tampered: changed || reason.is_tampered(), objects, keys }
            })
            .collect();
        let tampered = failed.iter().filter(|it| it.tampered).map(|it| it.objects).sum::<u64>();
        Decrypted {
            revision,
            objects: self.objects,
            opened: self.opened,
            unauthenticated: self.unauthenticated,
            tampered: tampered + self.tampered_otherwise,
            failed,
            failed_otherwise: self.failed_otherwise,
        }
    }
}

/// A static key that opens other values and not this one.
fn is_changed(reason: &Unopened, good_keys: &BTreeSet<StoredAs>) -> bool {
    let Unopened::WrongKey { cipher, name } = reason else { return false };
    let value =
        keystead_etcd::stored::StaticKey { cipher: *cipher, key_name: name.clone(), payload: Vec::new() };
    good_keys.contains(&stored_as(&Stored::StaticKey(value)))
}

const REASONS_MAX: usize = 100;
const KEYS_MAX: usize = 10;
/// Bytes of a key that are kept.
const KEY_MAX: usize = 1024;
