use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Batch, Revision, Store};

use super::{commit, ok};

pub(super) async fn check<F: AsyncFn() -> Arc<dyn Store>>(fresh: &F) {
    changes_are_what_was_written_since(&*fresh().await).await;
    a_future_is_unknown(&*fresh().await).await;
}

async fn changes_are_what_was_written_since(store: &dyn Store) {
    let nothing = ok(store.changes(Revision(0)).await, "changes");
    assert_eq!((nothing.up_to, nothing.names), (Revision(0), Some(vec![])), "of an empty store");
    let mut written: Vec<(Revision, Vec<String>)> = Vec::new();
    for round in 0..6_u8 {
        let (own, shared) = (format!("own{round}"), "shared".to_owned());
        let batch = Batch::default().create(own.as_str(), vec![round]).put(shared.as_str(), vec![round]);
        let revision = commit(store, batch).await;
        written.push((revision, vec![own.clone(), shared]));
        if round % 2 == 0 {
            let deleted = commit(store, Batch::default().delete(own.as_str(), revision)).await;
            written.push((deleted, vec![own]));
        }
    }
    let newest = written.last().map_or(Revision(0), |(revision, _)| *revision);
    for since in (0..=newest.0).map(Revision) {
        let changes = ok(store.changes(since).await, "changes");
        assert_eq!(changes.up_to, newest);
        let expected: BTreeSet<&String> =
            written.iter().filter(|(revision, _)| *revision > since).flat_map(|(_, names)| names).collect();
        let names = changes.names.unwrap_or_else(|| panic!("a store knows its last commits"));
        assert_eq!(names.len(), expected.len(), "each name once, since {since:?}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>(), expected, "writes and deletes since {since:?}");
    }
}

/// Whoever is ahead of the store has seen another one, or a newer copy.
async fn a_future_is_unknown(store: &dyn Store) {
    let newest = commit(store, Batch::default().put("a", vec![])).await;
    for since in [Revision(newest.0 + 1), Revision(u64::MAX)] {
        let changes = ok(store.changes(since).await, "changes");
        assert_eq!((changes.up_to, changes.names), (newest, None), "since {since:?}");
    }
}
