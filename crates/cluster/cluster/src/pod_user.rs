//! Whom the containers of a pod run as, by its manifest.

use std::collections::BTreeSet;

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
