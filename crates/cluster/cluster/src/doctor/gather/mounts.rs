//! Where a pod's files are on the host.

use std::path::{Path, PathBuf};

use crate::yaml::{Document, Node, Step};

/// Directories and files of the host that a pod sees, of all its containers.
#[derive(Clone)]
pub(super) struct Mounts(Vec<Mount>);

#[derive(Clone)]
struct Mount {
    inside: PathBuf,
    host: PathBuf,
}

impl Mounts {
    pub(super) fn of(document: &Document) -> Self {
        let spec = document.at(&[Step::Key("spec")]);
        let volumes = list(spec, "volumes");
        let host_path = |name: &str| {
            let volume = volumes.iter().find(|it| word(it, "name") == Some(name))?;
            word(volume.get("hostPath")?, "path").map(PathBuf::from)
        };
        let containers = ["initContainers", "containers"].into_iter().flat_map(|it| list(spec, it));
        let mut mounts = Vec::new();
        for mount in containers.flat_map(|it| list(Some(it), "volumeMounts")) {
            // What that leads to is decided where the pod starts.
            if mount.get("subPathExpr").is_some() {
                continue;
            }
            let (Some(name), Some(inside)) = (word(mount, "name"), word(mount, "mountPath")) else {
                continue;
            };
            let Some(host) = host_path(name) else { continue };
            let host = word(mount, "subPath").map_or(host.clone(), |it| host.join(it));
            mounts.push(Mount { inside: PathBuf::from(inside), host });
        }
        Self(mounts)
    }

    /// By the deepest mount that holds it. None: it is inside the image, or in a volume of another kind.
    pub(super) fn host(&self, path: &Path) -> Option<PathBuf> {
        let held = self.0.iter().filter_map(|it| Some((it, path.strip_prefix(&it.inside).ok()?)));
        let (mount, rest) = held.max_by_key(|(it, _)| it.inside.components().count())?;
        Some(if rest.as_os_str().is_empty() { mount.host.clone() } else { mount.host.join(rest) })
    }
}

fn list<'n>(node: Option<&'n Node>, key: &str) -> &'n [Node] {
    node.and_then(|it| it.get(key)).map(Node::items).unwrap_or_default()
}

fn word<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key).and_then(Node::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts() {
        let text = "spec:\n  containers:\n  - name: a\n    volumeMounts:\n    - {name: keys, mountPath: /keys/}\n    - {name: deep, mountPath: /keys/deep, subPath: b}\n    - {name: none, mountPath: /none}\n  volumes:\n  - {name: keys, hostPath: {path: /etc/keystead}}\n  - {name: deep, hostPath: {path: /srv}}\n  - {name: none, emptyDir: {}}\n";
        let mounts = Mounts::of(&Document::parse(text.as_bytes()).expect("YAML"));
        for (path, expected) in [
            ("/keys/a.key", Some("/etc/keystead/a.key")),
            ("/keys/deep/c", Some("/srv/b/c")),
            ("/keys", Some("/etc/keystead")),
            ("/keysy/a", None),
            ("/none/a", None),
            ("/etc/keystead/a.key", None),
        ] {
            assert_eq!(mounts.host(Path::new(path)).as_deref(), expected.map(Path::new), "{path}");
        }
    }
}
