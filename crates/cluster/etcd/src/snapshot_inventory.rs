//! Counts of what a snapshot holds: the objects, and the old revisions that no API shows.

use serde::Serialize;

use crate::inventory::{Layout, StoredCounts, Tally};
use crate::snapshot::{Age, HashCheck, Snapshot, SnapshotError};

/// Counts what a snapshot holds of some resources, or of all where none is named. Memory does not grow with the number of
/// objects.
///
/// # Errors
///
/// Where the file is damaged. Values that nobody can read are counted and named in the result.
pub fn snapshot_inventory(
    snapshot: &Snapshot,
    layout: &Layout,
    resources: &[String],
) -> Result<SnapshotCounts, SnapshotError> {
    let hash = snapshot.check_hash()?;
    let prefixes = layout.prefixes(resources);
    let (mut current, mut old) = (Tally::new(layout.clone()), Tally::new(layout.clone()));
    let mut elsewhere = 0;
    let revisions = snapshot.for_each(|stored| {
        let wanted = prefixes.iter().any(|prefix| stored.key.starts_with(prefix.as_bytes()));
        match stored.age {
            Age::Current if wanted => current.add(stored.key, stored.value),
            Age::Current => elsewhere += 1,
            Age::Old if wanted => old.add(stored.key, stored.value),
            Age::Old => (),
        }
    })?;
    let last = Some(revisions.last);
    Ok(SnapshotCounts {
        current: StoredCounts { first_revision: last, last_revision: last, ..current.finish() },
        history: History {
            old: old.finish(),
            elsewhere,
            compacted_revision: revisions.compacted,
            compaction_unfinished: revisions.compaction_unfinished,
            hash,
        },
    })
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotCounts {
    /// The objects, as an API server that starts on this snapshot reads them.
    pub current: StoredCounts,
    /// What only a file shows.
    pub history: History,
}

/// What a file shows and a running etcd does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct History {
    /// Values that were replaced, or whose key was deleted, and that are still in the file: etcd's history since the last
    /// compaction. Each counts as an object here.
    pub old: StoredCounts,
    /// Keys that are not under the prefix or of the resources asked for.
    pub elsewhere: u64,
    /// Up to which revision etcd had compacted.
    pub compacted_revision: Option<i64>,
    /// That compaction had not ended when the snapshot was made.
    pub compaction_unfinished: bool,
    /// Whether the file is what was saved.
    pub hash: HashCheck,
}
