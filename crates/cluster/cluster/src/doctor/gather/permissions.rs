//! Who may open what.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::doctor::facts::{Seen, SocketFacts};
use crate::pod_user::PodUser;

/// User and groups with which a process opens files, by the kernel's word. None: it has ended.
pub(super) fn of_process(pid: &str) -> Option<PodUser> {
    let mut groups = numbers(pid, "Groups:");
    groups.extend(numbers(pid, "Gid:").last());
    Some(PodUser { user: *users_of_process(pid).last()?, groups })
}

/// Real, effective and saved user, and that of the file system.
pub(super) fn users_of_process(pid: &str) -> Vec<u32> {
    numbers(pid, "Uid:")
}

fn numbers(pid: &str, name: &str) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix(name));
    line.map(|it| it.split_whitespace().filter_map(|it| it.parse().ok()).collect()).unwrap_or_default()
}

/// The socket, and every directory that leads to it.
pub(super) fn of_socket(socket: &str) -> Seen<Vec<SocketFacts>> {
    if socket.starts_with('@') {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let all: Vec<&Path> = Path::new(socket).ancestors().collect();
    for path in all.into_iter().rev() {
        let metadata = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        found.push(SocketFacts {
            path: path.to_owned(),
            is_directory: metadata.is_dir(),
            mode: metadata.mode() & 0o7777,
            user: metadata.uid(),
            group: metadata.gid(),
        });
    }
    Ok(found)
}
