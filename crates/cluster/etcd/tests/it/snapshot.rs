//! Snapshot files.

mod files;
mod hostile;
mod live;
pub(crate) mod maintenance;

use keystead_etcd::StoredCounts;

/// Resource, encryption in short, objects.
fn rows(counts: &StoredCounts) -> Vec<(String, String, u64)> {
    let row = |group: &keystead_etcd::Group| {
        let encryption = serde_json::to_value(&group.encryption).expect("JSON");
        let short = ["kind", "format", "key_id"].map(|name| encryption[name].as_str().unwrap_or_default());
        (group.resource.clone(), short.join(" ").trim().to_owned(), group.objects)
    };
    counts.groups.iter().map(row).collect()
}
