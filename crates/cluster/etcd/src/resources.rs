//! Which resources something is stored of.

use std::collections::BTreeSet;

use keystead_proto::etcd::RangeRequest;

use crate::connection::{Etcd, ReadError};
use crate::inventory::Layout;
use crate::scan::end_of;
use crate::snapshot::{Snapshot, SnapshotError};

impl Etcd {
    /// Resources of which there is an object, as in [`crate::Group::resource`]. It reads one key of each, and at most 10,000.
    ///
    /// # Errors
    ///
    /// Where etcd does not answer, or answers what makes no sense.
    pub async fn resources(&self, layout: &Layout) -> Result<BTreeSet<String>, ReadError> {
        let root = layout.prefixes(&[]).pop().unwrap_or_default();
        let (mut key, end) = (root.clone().into_bytes(), end_of(root.as_bytes()));
        let mut found = BTreeSet::new();
        for _ in 0..RESOURCES_MAX {
            let request = RangeRequest {
                key: key.clone(),
                range_end: end.clone(),
                limit: 1,
                keys_only: true,
                ..Default::default()
            };
            let answer = self.range(request).await.map_err(|status| ReadError::Call(Box::new(status)))?;
            let Some(first) = answer.kvs.into_iter().next() else { break };
            if first.key < key {
                return Err(ReadError::Disorder);
            }
            let resource = layout.resource_of(&first.key);
            // Behind all that are below it: `0` is what follows `/`.
            let behind = format!("{root}{resource}0").into_bytes();
            key = if behind > first.key { behind } else { [first.key.as_slice(), &[0]].concat() };
            found.insert(resource);
        }
        Ok(found)
    }
}

/// Resources of which a snapshot has an object or an old revision, as in [`crate::Group::resource`]; at most 10,000.
///
/// # Errors
///
/// Where the file is damaged.
pub fn snapshot_resources(snapshot: &Snapshot, layout: &Layout) -> Result<BTreeSet<String>, SnapshotError> {
    let root = layout.prefixes(&[]).pop().unwrap_or_default();
    let mut found = BTreeSet::new();
    snapshot.for_each(|stored| {
        if stored.key.starts_with(root.as_bytes()) && found.len() < RESOURCES_MAX {
            found.insert(layout.resource_of(stored.key));
        }
    })?;
    Ok(found)
}

/// A real cluster has some hundred.
const RESOURCES_MAX: usize = 10_000;
