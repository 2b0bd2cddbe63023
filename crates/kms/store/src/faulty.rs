//! Stores that are wrong on purpose: a test that watches a store must find each of these, or it proves nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystead_model::ErrorClass;

use crate::{Batch, Changes, Entry, Expect, Pending, Revision, Store, StoreError};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A commit does not look at what it expects.
    LostUpdate,
    /// Every third get is answered from what an earlier get saw.
    StaleRead,
    /// A batch is written in two parts.
    HalfBatch,
    /// Two commits have one number.
    RevisionReuse,
    /// Every seventh commit is confirmed and not written.
    LostCommit,
    /// A commit that conflicts is refused and written all the same.
    RefusedAndWritten,
    /// What is about to be committed can be read already, even if it then conflicts.
    DirtyRead,
    /// A list is made of one read after the other.
    TornList,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::LostUpdate,
        Self::StaleRead,
        Self::HalfBatch,
        Self::RevisionReuse,
        Self::LostCommit,
        Self::RefusedAndWritten,
        Self::DirtyRead,
        Self::TornList,
    ];
}

/// A good store, made bad.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    flaw: Flaw,
    calls: AtomicU64,
    /// What was once read, or is about to be written.
    kept: Mutex<BTreeMap<String, Option<Entry>>>,
}

impl FaultyStore {
    /// With one flaw.
    pub fn new(inner: Arc<dyn Store>, flaw: Flaw) -> Self {
        Self { inner, flaw, calls: AtomicU64::new(0), kept: Mutex::new(BTreeMap::new()) }
    }

    fn every(&self, nth: u64) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) % nth == nth - 1
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Option<Entry>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, revision: Revision) -> Revision {
        if self.flaw == Flaw::RevisionReuse { Revision(revision.0.div_ceil(2)) } else { revision }
    }

    fn shown(&self, entry: Entry) -> Entry {
        Entry { revision: self.answered(entry.revision), ..entry }
    }

    /// The expectations of whoever was told halved numbers.
    async fn translate(&self, batch: &mut Batch) -> Result<(), StoreError> {
        for write in &mut batch.writes {
            let Expect::At(at) = write.expect else { continue };
            if let Some(entry) = self.inner.get(&write.name).await?
                && self.answered(entry.revision) == at
            {
                write.expect = Expect::At(entry.revision);
            }
        }
        Ok(())
    }

    fn show_before_commit(&self, batch: &Batch, revision: Revision) {
        for write in &batch.writes {
            let entry = write.value.clone().map(|value| Entry { name: write.name.clone(), revision, value });
            self.kept().insert(write.name.clone(), entry);
        }
    }
}

/// The same writes, whatever is there.
fn careless(mut batch: Batch) -> Batch {
    batch.writes.iter_mut().for_each(|write| write.expect = Expect::Any);
    batch
}

impl Store for FaultyStore {
    fn get<'a>(&'a self, name: &'a str) -> Pending<'a, Option<Entry>> {
        Box::pin(async move {
            match self.flaw {
                Flaw::StaleRead if self.every(3) => {
                    if let Some(kept) = self.kept().get(name) {
                        return Ok(kept.clone());
                    }
                }
                Flaw::DirtyRead => {
                    if let Some(kept) = self.kept().get(name) {
                        return Ok(kept.clone());
                    }
                }
                _ => {}
            }
            let entry = self.inner.get(name).await?;
            if self.flaw == Flaw::StaleRead {
                // Kept until it is old.
                self.kept().entry(name.to_owned()).or_insert_with(|| entry.clone());
            }
            Ok(entry.map(|entry| self.shown(entry)))
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> Pending<'a, Vec<Entry>> {
        Box::pin(async move {
            let mut entries = self.inner.list(prefix, after, limit).await?;
            if self.flaw == Flaw::TornList {
                let mut torn = Vec::new();
                for entry in entries {
                    torn.extend(self.inner.get(&entry.name).await?);
                }
                entries = torn;
            }
            Ok(entries.into_iter().map(|entry| self.shown(entry)).collect())
        })
    }

    fn count<'a>(&'a self, prefix: &'a str) -> Pending<'a, u64> {
        self.inner.count(prefix)
    }

    fn commit(&self, mut batch: Batch) -> Pending<'_, Revision> {
        Box::pin(async move {
            match self.flaw {
                Flaw::LostUpdate => self.inner.commit(careless(batch)).await,
                Flaw::HalfBatch if batch.writes.len() > 1 => {
                    let second = batch.writes.split_off(batch.writes.len() / 2);
                    self.inner.commit(batch).await?;
                    self.inner.commit(careless(Batch { writes: second, erase: false })).await
                }
                Flaw::RevisionReuse => {
                    self.translate(&mut batch).await?;
                    self.inner.commit(batch).await.map(|revision| self.answered(revision))
                }
                Flaw::LostCommit if self.every(7) => {
                    Ok(Revision(self.inner.changes(Revision(0)).await?.up_to.0 + 1))
                }
                Flaw::RefusedAndWritten => match self.inner.commit(batch.clone()).await {
                    Err(error)
                        if matches!(error.class(), ErrorClass::Aborted | ErrorClass::AlreadyExists) =>
                    {
                        self.inner.commit(careless(batch)).await?;
                        Err(error)
                    }
                    result => result,
                },
                Flaw::DirtyRead => {
                    let newest = self.inner.changes(Revision(0)).await?.up_to;
                    self.show_before_commit(&batch, Revision(newest.0 + 1));
                    let result = self.inner.commit(batch.clone()).await;
                    batch.writes.iter().for_each(|write| drop(self.kept().remove(&write.name)));
                    result
                }
                _ => self.inner.commit(batch).await,
            }
        })
    }

    fn changes(&self, since: Revision) -> Pending<'_, Changes> {
        Box::pin(async move {
            let changes = self.inner.changes(since).await?;
            Ok(Changes { up_to: self.answered(changes.up_to), ..changes })
        })
    }

    fn writable(&self) -> Pending<'_, ()> {
        self.inner.writable()
    }

    fn is_erasing(&self) -> bool {
        self.inner.is_erasing()
    }
}
