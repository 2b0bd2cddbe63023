//! What clients were told, and what they asked and heard nothing of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

/// Everything that must be there after a crash.
pub(super) struct Known(Mutex<Inner>);

pub(super) struct Inner {
    pub(super) keys: Vec<Key>,
    /// Calls that were answered, by id, and their methods.
    acknowledged: Vec<(String, &'static str)>,
    /// Calls that were begun and whose answer did not come, since the last crash.
    open: usize,
}

#[derive(Default)]
pub(super) struct Key {
    /// Numbers that were answered or listed; none is ever given out again.
    pub(super) versions: BTreeSet<u64>,
    /// Whether each is enabled.
    pub(super) enabled: BTreeMap<u64, Told<bool>>,
    pub(super) primary: Told<u64>,
    /// The one member of the one binding.
    pub(super) policy: Told<String>,
    pub(super) sealed: Vec<Sealed>,
    /// How many of these were checked after a crash.
    pub(super) checked: usize,
}

#[derive(Clone)]
pub(super) struct Sealed {
    pub(super) version: u64,
    pub(super) ciphertext: String,
    pub(super) plaintext: String,
}

/// A value that one client changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Told<T> {
    /// The last that was acknowledged.
    pub(super) acknowledged: T,
    /// Asked for after that, and not answered: it may be so.
    pub(super) asked: Option<T>,
}

impl<T: PartialEq + std::fmt::Debug> Told<T> {
    pub(super) fn ask(&mut self, value: T) {
        self.asked = Some(value);
    }

    pub(super) fn acknowledge(&mut self) {
        if let Some(value) = self.asked.take() {
            self.acknowledged = value;
        }
    }

    /// Refused: it did not happen.
    pub(super) fn withdraw(&mut self) {
        self.asked = None;
    }

    /// After a crash: what is must be one of the two, and is the truth from now on.
    pub(super) fn settle(&mut self, found: T, what: &str) {
        let may_be = found == self.acknowledged || self.asked.as_ref() == Some(&found);
        assert!(may_be, "{what} is {found:?}, and was {self:?} before the crash");
        *self = Self { acknowledged: found, asked: None };
    }
}

impl Known {
    pub(super) fn new(keys: usize) -> Self {
        let key = || Key {
            primary: Told { acknowledged: 1, asked: None },
            versions: BTreeSet::from([1]),
            enabled: BTreeMap::from([(1, Told { acknowledged: true, asked: None })]),
            ..Key::default()
        };
        let keys = (0..keys).map(|_| key()).collect();
        Self(Mutex::new(Inner { keys, acknowledged: Vec::new(), open: 0 }))
    }

    pub(super) fn get(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no client panicked")
    }

    pub(super) fn begin(&self) {
        self.get().open += 1;
    }

    pub(super) fn end(&self, id: String, method: &'static str) {
        let mut inner = self.get();
        inner.open -= 1;
        inner.acknowledged.push((id, method));
    }

    /// How many calls the crash cut off.
    pub(super) fn unanswered(&self) -> usize {
        std::mem::take(&mut self.get().open)
    }

    pub(super) fn take_acknowledged(&self) -> Vec<(String, &'static str)> {
        std::mem::take(&mut self.get().acknowledged)
    }

    pub(super) fn ciphertexts(&self) -> usize {
        self.get().keys.iter().map(|key| key.sealed.len()).sum()
    }
}
