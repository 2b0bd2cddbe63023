use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keystead_audit::Record;
use keystead_model::ErrorClass;
use serde::{Deserialize, Serialize};

use crate::KmsError;
use crate::records::{encode, record_name};

/// Which audit records are in the store and not yet in the log, and which are in the log and still in the store. Each is named
/// after the server that committed it, because only that one's log may hold it.
///
/// It is bounded by the calls under way: a mutation does not begin while the log takes no records.
pub(super) struct Outbox {
    server: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the name of the record in the store; whether somebody is about to deliver it.
    owed: BTreeMap<String, bool>,
    /// In the log; a coming commit deletes them from the store.
    delivered: BTreeSet<String>,
}

/// An audit record in the store, with what tells whether it is in the log already.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The newest record of the log when this one was committed: it can only come after.
    pub(super) after: u64,
    /// See [`Record::to_json`].
    pub(super) record: String,
}

/// What the store holds for a record that waits to be delivered.
pub(crate) fn entry(after: u64, record: &Record) -> Result<Vec<u8>, KmsError> {
    let record = String::from_utf8(record.to_json())
        .map_err(|_| KmsError::new(ErrorClass::Bug, "an audit record is not text"))?;
    encode(&Entry { after, record })
}

/// A record that somebody is about to deliver. Dropped without a word, it is delivered later.
pub(super) struct Owed<'a> {
    outbox: &'a Outbox,
    name: Option<String>,
}

/// Delivered records that are about to be deleted. Dropped without a word, they are deleted later.
pub(super) struct Deleted<'a> {
    outbox: &'a Outbox,
    names: Vec<String>,
}

impl Outbox {
    pub(super) fn new(server: String) -> Self {
        Self { server, state: Mutex::default() }
    }

    /// The name in the store of the record of a call.
    pub(super) fn name(&self, call: &str) -> String {
        record_name::outbox(&self.server, call)
    }

    /// Notes that a record is about to be committed and then delivered.
    pub(super) fn owe(&self, name: String) -> Owed<'_> {
        self.lock().owed.insert(name.clone(), true);
        Owed { outbox: self, name: Some(name) }
    }

    /// Records that should have been delivered and were not; from now on the caller is about to.
    pub(super) fn overdue(&self) -> Vec<Owed<'_>> {
        let mut overdue = Vec::new();
        for (name, is_taken) in &mut self.lock().owed {
            if !std::mem::replace(is_taken, true) {
                overdue.push(Owed { outbox: self, name: Some(name.clone()) });
            }
        }
        overdue
    }

    /// At most so many records that a commit can delete.
    pub(super) fn take_delivered(&self, most: usize) -> Deleted<'_> {
        let mut state = self.lock();
        let names: Vec<String> = state.delivered.iter().take(most).cloned().collect();
        for name in &names {
            state.delivered.remove(name);
        }
        Deleted { outbox: self, names }
    }

    pub(super) fn delivered(&self) -> usize {
        self.lock().delivered.len()
    }

    /// Nothing panics while it is held, so a poisoned lock has good content.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owed<'_> {
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// It is in the log.
    pub(super) fn settle(mut self) {
        if let Some(name) = self.name.take() {
            let mut state = self.outbox.lock();
            state.owed.remove(&name);
            state.delivered.insert(name);
        }
    }

    /// It was never committed.
    pub(super) fn cancel(mut self) {
        if let Some(name) = self.name.take() {
            self.outbox.lock().owed.remove(&name);
        }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take()
            && let Some(is_taken) = self.outbox.lock().owed.get_mut(&name)
        {
            *is_taken = false;
        }
    }
}

impl Deleted<'_> {
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// They are gone from the store.
    pub(super) fn forget(mut self) {
        self.names.clear();
    }
}

impl Drop for Deleted<'_> {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.names);
        self.outbox.lock().delivered.extend(names);
    }
}
