use keystead_audit::Record;
use keystead_model::ErrorClass;
use keystead_store::{Batch, Entry, Expect, Write};

use super::outbox::Owed;
use super::{Ledger, outbox};
use crate::KmsError;
use crate::records::record_name;

/// Outbox records that are read at once, and at most deleted at once.
const PAGE: usize = 1000;

impl Ledger {
    /// At start: brings into the audit log what was committed and not recorded when the process before this one ended, once:
    /// under the id that it has, unless a record of that id is there. Records of every server, because the store of this
    /// process has no other one that lives.
    pub(crate) async fn deliver_everything(&self) -> Result<(), KmsError> {
        let mut after = String::new();
        loop {
            let page = self.store.list(record_name::OUTBOX, &after, PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|entry| entry.name.clone()).unwrap_or_default();
            let owed = page.into_iter().map(|entry| (self.outbox.owe(entry.name.clone()), entry)).collect();
            self.deliver(owed).await?;
            if !full {
                return Ok(());
            }
        }
    }

    /// Brings into the audit log what should be there and is not: the log could not be written, or nobody could tell whether
    /// the commit had happened. Deletes what many calls have left in the outbox.
    pub(crate) async fn deliver_owed(&self) -> Result<(), KmsError> {
        let mut found = Vec::new();
        for owed in self.outbox.overdue() {
            match self.store.get(owed.name()).await? {
                Some(entry) => found.push((owed, entry)),
                None => owed.cancel(),
            }
        }
        self.deliver(found).await?;
        while self.outbox.delivered() >= PAGE {
            let deleted = self.outbox.take_delivered(PAGE);
            let write = |name: &String| Write { name: name.clone(), expect: Expect::Any, value: None };
            let batch = Batch { writes: deleted.names().iter().map(write).collect(), erase: false };
            self.store.commit(batch).await?;
            deleted.forget();
        }
        Ok(())
    }

    async fn deliver(&self, owed: Vec<(Owed<'_>, Entry)>) -> Result<(), KmsError> {
        let mut records = Vec::with_capacity(owed.len());
        for (owed, entry) in owed {
            let (after, record) = read(&entry)?;
            records.push((owed, after, record));
        }
        let Some(after) = records.iter().map(|(_, after, _)| *after).min() else { return Ok(()) };
        let ids: Vec<String> = records.iter().map(|(owed, ..)| call_of(owed.name()).to_owned()).collect();
        let in_the_log = self.audit.contained(&ids.iter().map(String::as_str).collect::<Vec<_>>(), after)?;
        for ((owed, _, record), id) in records.into_iter().zip(&ids) {
            if !in_the_log.contains(id) {
                self.audit.append_record(record).await?;
            }
            owed.settle();
        }
        Ok(())
    }
}

/// The id of a call, from the name of its outbox record.
fn call_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The newest record of the log before this one, and the record itself. One from before records had a place is looked for in
/// the whole log.
fn read(entry: &Entry) -> Result<(u64, Record), KmsError> {
    let (after, text) = match serde_json::from_slice::<outbox::Entry>(&entry.value) {
        Ok(waiting) => (waiting.after, waiting.record.into_bytes()),
        Err(_) => (0, entry.value.clone()),
    };
    let record = Record::from_json(&text).ok_or_else(|| {
        KmsError::new(ErrorClass::Corrupt, format!("the stored record {} is damaged", entry.name))
    })?;
    Ok((after, record))
}
