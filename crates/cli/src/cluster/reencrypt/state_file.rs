use std::path::PathBuf;

use keystead_runtime::Failure;
use rustix::process::geteuid;

use crate::xdg;

/// Where the state of a run over this cluster is kept when nobody says: one file for each cluster, so that two never meet.
pub(super) fn default(cluster: &str) -> Result<PathBuf, Failure> {
    // A uid is of hexadecimal digits and hyphens; nothing else may become part of a path.
    let uid: String = cluster.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '-').collect();
    Ok(directory()?.join(format!("reencrypt-{uid}.json")))
}

fn directory() -> Result<PathBuf, Failure> {
    if geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/keystead"));
    }
    xdg::directory("XDG_STATE_HOME", ".local/state").ok_or_else(|| {
        Failure::new("there is no place for the state: neither XDG_STATE_HOME nor HOME is set")
            .usage()
            .hint("name a file with --state, or use --no-state".to_owned())
    })
}
