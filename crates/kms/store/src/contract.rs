//! What every store must do, as a suite that each of them runs in one line:
//! `keystead_store::contract::check(|| async { fresh store }).await`.
#![expect(clippy::panic, reason = "a test suite reports by panicking")]

mod changes;
mod erasing;
mod racing;
mod reading;
mod writing;

use std::sync::Arc;

use keystead_model::ErrorClass;

use crate::{Batch, Entry, Revision, Store, StoreError};

/// Runs the suite; panics with the rule that does not hold. Every rule gets an empty store of its own.
pub async fn check<F: AsyncFn() -> Arc<dyn Store>>(fresh: F) {
    reading::check(&fresh).await;
    writing::check(&fresh).await;
    changes::check(&fresh).await;
    racing::check(&fresh).await;
    erasing::check(&fresh).await;
}

async fn get(store: &dyn Store, name: &str) -> Option<Entry> {
    ok(store.get(name).await, "get")
}

async fn value(store: &dyn Store, name: &str) -> Option<Vec<u8>> {
    get(store, name).await.map(|entry| entry.value)
}

async fn names(store: &dyn Store, prefix: &str, after: &str, limit: usize) -> Vec<String> {
    ok(store.list(prefix, after, limit).await, "list").into_iter().map(|entry| entry.name).collect()
}

async fn commit(store: &dyn Store, batch: Batch) -> Revision {
    ok(store.commit(batch).await, "commit")
}

async fn newest(store: &dyn Store) -> Revision {
    ok(store.changes(Revision(0)).await, "changes").up_to
}

/// The batch is refused with this class, and no commit was made of it.
async fn refused(store: &dyn Store, batch: Batch, class: ErrorClass, what: &str) {
    let before = newest(store).await;
    match store.commit(batch).await {
        Err(error) => assert_eq!(error.class(), class, "{what}: {error}"),
        Ok(_) => panic!("{what} was committed"),
    }
    assert_eq!(newest(store).await, before, "{what} used up a revision");
}

fn ok<T>(result: Result<T, StoreError>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {error}"))
}
