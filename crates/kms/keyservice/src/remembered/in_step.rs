use std::sync::Arc;

use keystead_store::{Batch, Changes, Entry, Pending, Revision, Store, StoreError};

use super::Feed;

/// A store that answers a read when what is remembered is at least as new as the answer. Otherwise somebody could read of a
/// change in a record and then be served from a memory that has not heard of it.
pub(crate) struct InStep {
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
}

impl InStep {
    pub(crate) fn new(store: Arc<dyn Store>, feed: Arc<Feed>) -> Self {
        Self { store, feed }
    }

    /// For an answer that does not say how new it is.
    async fn reach_newest(&self) -> Result<(), StoreError> {
        // Nothing is newer than the newest: the answer is only where the store is.
        self.feed.reach(self.store.changes(Revision(u64::MAX)).await?.up_to).await;
        Ok(())
    }
}

impl Store for InStep {
    fn get<'a>(&'a self, name: &'a str) -> Pending<'a, Option<Entry>> {
        Box::pin(async move {
            let entry = self.store.get(name).await?;
            match &entry {
                Some(entry) => self.feed.reach(entry.revision).await,
                None => self.reach_newest().await?,
            }
            Ok(entry)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> Pending<'a, Vec<Entry>> {
        Box::pin(async move {
            let entries = self.store.list(prefix, after, limit).await?;
            self.reach_newest().await?;
            Ok(entries)
        })
    }

    fn count<'a>(&'a self, prefix: &'a str) -> Pending<'a, u64> {
        self.store.count(prefix)
    }

    fn commit(&self, batch: Batch) -> Pending<'_, Revision> {
        self.store.commit(batch)
    }

    fn changes(&self, since: Revision) -> Pending<'_, Changes> {
        self.store.changes(since)
    }

    fn writable(&self) -> Pending<'_, ()> {
        self.store.writable()
    }

    fn is_erasing(&self) -> bool {
        self.store.is_erasing()
    }
}
