use std::path::PathBuf;

use keystead_runtime::Failure;

use crate::state_directory;

/// Where the state of a run over this cluster is kept when nobody says: one file for each cluster, so that two never meet.
pub(super) fn default(cluster: &str) -> Result<PathBuf, Failure> {
    // A uid is of hexadecimal digits and hyphens; nothing else may become part of a path.
    let uid: String = cluster.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '-').collect();
    Ok(state_directory()?.join(format!("reencrypt-{uid}.json")))
}
