//! Whom the containers of a pod run as, by its manifest, and whom a process runs as.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;

use serde::Serialize;

use crate::yaml::{Content, Document, Node, Step};

/// Whom a container or a process runs as.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PodUser {
    /// Its user.
    pub user: u32,
    /// Its groups, as far as they are written.
    pub groups: Vec<u32>,
}

impl PodUser {
    /// User and groups with which a process opens files, by the kernel's word. None: it has ended.
    pub(crate) fn of_process(pid: &str) -> Option<Self> {
        let mut groups = numbers(pid, "Groups:");
        groups.extend(numbers(pid, "Gid:").last());
        Some(Self { user: *users_of_process(pid).last()?, groups })
    }

    /// Whether it may do that with a file or directory: the last three bits of a mode.
    pub(crate) fn may(&self, found: &Metadata, wanted: u32) -> bool {
        self.may_by(found.uid(), found.gid(), found.mode(), wanted)
    }

    /// The same of what has this owner, group and mode.
    pub(crate) fn may_by(&self, owner: u32, group: u32, mode: u32, wanted: u32) -> bool {
        let shift = if owner == self.user {
            6
        } else if self.groups.contains(&group) {
            3
        } else {
            0
        };
        self.user == 0 || (mode >> shift) & wanted == wanted
    }

    /// Of each container that says whom it runs as; of others the image decides, and Kubernetes' own have root. What a container says
    /// counts more than what its pod says.
    pub(crate) fn of(document: &Document) -> BTreeSet<Self> {
        let spec = document.at(&[Step::Key("spec")]);
        let pod = spec.and_then(|it| it.get("securityContext"));
        let more = pod.and_then(|it| it.get("supplementalGroups")).map(Node::items).unwrap_or_default();
        let more: Vec<u32> = more.iter().filter_map(integer).collect();
        let containers = ["initContainers", "containers"].into_iter().filter_map(|it| spec?.get(it));
        let of_container = |container: &Node| {
            let own = container.get("securityContext");
            let number =
                |key: &str| own.and_then(|it| it.get(key)).or_else(|| pod?.get(key)).and_then(integer);
            let mut groups: Vec<u32> = ["runAsGroup", "fsGroup"].iter().filter_map(|it| number(it)).collect();
            groups.extend(&more);
            Some(Self { user: number("runAsUser")?, groups })
        };
        containers.flat_map(Node::items).filter_map(of_container).collect()
    }
}

/// Real, effective and saved user of a process, and that of the file system.
pub(crate) fn users_of_process(pid: &str) -> Vec<u32> {
    numbers(pid, "Uid:")
}

fn numbers(pid: &str, name: &str) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix(name));
    line.map(|it| it.split_whitespace().filter_map(|it| it.parse().ok()).collect()).unwrap_or_default()
}

fn integer(node: &Node) -> Option<u32> {
    match node.content {
        Content::Integer(value) => u32::try_from(value).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::PodUser;
    use crate::yaml::Document;

    #[test]
    fn a_container_says_more_than_its_pod() {
        let text = "spec:\n  securityContext: {runAsUser: 1, runAsGroup: 2, supplementalGroups: [3]}\n  containers:\n  - name: a\n    securityContext: {runAsUser: 4}\n  - name: b\n";
        let users = PodUser::of(&Document::parse(text.as_bytes()).expect("YAML"));
        let user = |user| PodUser { user, groups: vec![2, 3] };
        assert_eq!(users.into_iter().collect::<Vec<_>>(), [user(1), user(4)]);
        let none = Document::parse(b"spec: {containers: [{name: a}]}").expect("YAML");
        assert!(PodUser::of(&none).is_empty());
    }
}
