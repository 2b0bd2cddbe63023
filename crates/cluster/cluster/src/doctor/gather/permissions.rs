//! Who may open what.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::doctor::facts::{PodUser, Seen, SocketFacts};
use crate::owned_file::OwnedFile;
use crate::yaml::{Content, Document, MAX_LEN, Node, Step};

/// User and groups of a process, by the kernel's word.
pub(super) fn of_process(pid: &str) -> (Option<u32>, Vec<u32>) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|it| it.strip_prefix(name));
        line.map(|it| it.split_whitespace().filter_map(|it| it.parse().ok()).collect()).unwrap_or_default()
    };
    // Real, effective, saved, of the file system: the last one opens files.
    let last = |name| numbers(name).last().copied();
    let mut groups = numbers("Groups:");
    groups.extend(last("Gid:"));
    (last("Uid:"), groups)
}

/// Real, effective and saved user, and that of the file system.
pub(super) fn users_of_process(pid: u32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("Uid:"));
    line.map(|it| it.split_whitespace().filter_map(|it| it.parse().ok()).collect()).unwrap_or_default()
}

/// User and groups that a static pod asks for; what the container says counts more than what the pod says.
pub(super) fn of_pod(path: &Path) -> (Option<u32>, Vec<u32>) {
    let Ok(file) = OwnedFile::read(path, MAX_LEN) else { return (None, Vec::new()) };
    let Ok(document) = Document::parse(file.bytes()) else { return (None, Vec::new()) };
    let spec = document.at(&[Step::Key("spec")]);
    let containers = spec.and_then(|it| it.get("containers")).map(Node::items).unwrap_or_default();
    let container = containers.iter().find_map(|it| it.get("securityContext"));
    let pod = spec.and_then(|it| it.get("securityContext"));
    let number = |key: &str| {
        let found = container.and_then(|it| it.get(key)).or_else(|| pod.and_then(|it| it.get(key)));
        found.and_then(integer)
    };
    let mut groups: Vec<u32> = ["runAsGroup", "fsGroup"].iter().filter_map(|it| number(it)).collect();
    let more = pod.and_then(|it| it.get("supplementalGroups")).map(Node::items).unwrap_or_default();
    groups.extend(more.iter().filter_map(integer));
    (number("runAsUser"), groups)
}

/// The same of each container that says whom it runs as.
pub(super) fn of_document(document: &Document) -> BTreeSet<PodUser> {
    let spec = document.at(&[Step::Key("spec")]);
    let pod = spec.and_then(|it| it.get("securityContext"));
    let more = pod.and_then(|it| it.get("supplementalGroups")).map(Node::items).unwrap_or_default();
    let more: Vec<u32> = more.iter().filter_map(integer).collect();
    let containers = ["initContainers", "containers"].into_iter().filter_map(|it| spec?.get(it));
    let of_container = |container: &Node| {
        let own = container.get("securityContext");
        let number = |key: &str| own.and_then(|it| it.get(key)).or_else(|| pod?.get(key)).and_then(integer);
        let mut groups: Vec<u32> = ["runAsGroup", "fsGroup"].iter().filter_map(|it| number(it)).collect();
        groups.extend(&more);
        Some(PodUser { user: number("runAsUser")?, groups })
    };
    containers.flat_map(Node::items).filter_map(of_container).collect()
}

fn integer(node: &Node) -> Option<u32> {
    match node.content {
        Content::Integer(value) => u32::try_from(value).ok(),
        _ => None,
    }
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
