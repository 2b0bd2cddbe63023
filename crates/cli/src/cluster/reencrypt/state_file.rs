use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use keystead_runtime::Failure;

/// Where the state of a run over this cluster is kept when nobody says: one file for each cluster, so that two never meet.
pub(super) fn default(cluster: &str) -> Result<PathBuf, Failure> {
    // A uid is of hexadecimal digits and hyphens; nothing else may become part of a path.
    let uid: String = cluster.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '-').collect();
    Ok(directory()?.join(format!("reencrypt-{uid}.json")))
}

fn directory() -> Result<PathBuf, Failure> {
    // The owner of our own entry in /proc is who we are.
    if std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0) {
        return Ok(PathBuf::from("/var/lib/keystead"));
    }
    let set = |name| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|it| it.join(".local/state")));
    state.map(|it| it.join("keystead")).ok_or_else(|| {
        Failure::new("there is no place for the state: neither XDG_STATE_HOME nor HOME is set")
            .usage()
            .hint("name a file with --state, or use --no-state".to_owned())
    })
}
