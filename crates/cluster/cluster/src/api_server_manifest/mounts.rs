//! Directories of the host inside the container.

use serde::{Deserialize, Serialize};

use super::{ApiServerManifest, ManifestError};
use crate::yaml::{Content, Document, Node, Step, Value};

/// A directory or file of the host that the container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name of the volume.
    pub volume: String,
    /// On the host.
    pub host_path: String,
    /// `type` of the host path, such as `Directory`, `DirectoryOrCreate` or `File`; empty: anything.
    pub host_type: String,
    /// In the container.
    pub mount_path: String,
    /// Whether the container cannot write there.
    pub read_only: bool,
}

/// A directory that kube-apiserver is to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryMount {
    /// Name of the volume, such as `kms-plugin-socket`.
    pub volume: String,
    /// On the host and, because the configuration is the same for both, in the container.
    pub path: String,
    /// Whether kube-apiserver cannot write there. Connecting to a socket is no writing.
    pub read_only: bool,
}

impl Mount {
    /// Whether it is this directory, at the same path on the host and in the container.
    pub(super) fn is_of(&self, directory: &DirectoryMount) -> bool {
        is_path(&self.mount_path, &directory.path)
            && is_path(&self.host_path, &directory.path)
            && !self.host_type.starts_with("File")
    }
}

fn is_path(given: &str, path: &str) -> bool {
    given.trim_end_matches('/') == path.trim_end_matches('/')
}

impl ApiServerManifest {
    /// The mounts of directories and files of the host. What `subPathExpr` leads to is decided where the pod starts, and is left out.
    pub(super) fn mounts(&self) -> Result<Vec<Mount>, ManifestError> {
        let volumes = self.list(self.spec(), "volumes")?;
        let mounts = self.list(self.container(), "volumeMounts")?.iter();
        let mounts = mounts.filter(|mount| mount.get("subPathExpr").is_none()).filter_map(|mount| {
            let word = |node: &Node, key| node.get(key).and_then(Node::as_str).map(str::to_owned);
            let volume = word(mount, "name")?;
            let host =
                volumes.iter().find(|it| word(it, "name").as_ref() == Some(&volume))?.get("hostPath")?;
            let host_path = word(host, "path")?;
            let below = word(mount, "subPath").map(|below| format!("/{below}")).unwrap_or_default();
            Some(Mount {
                host_path: format!("{host_path}{below}"),
                host_type: word(host, "type").unwrap_or_default(),
                mount_path: word(mount, "mountPath")?,
                read_only: matches!(mount.get("readOnly"), Some(Node { content: Content::Bool(true), .. })),
                volume,
            })
        });
        Ok(mounts.collect())
    }

    /// Whether the directory is mounted as asked for. Refuses if its name or path stand for something else.
    pub(super) fn is_mounted(&self, wanted: &DirectoryMount) -> Result<bool, ManifestError> {
        // Somebody's own mount of the same directory serves as well.
        if self.mounts()?.iter().any(|mount| mount.is_of(wanted)) {
            return Ok(true);
        }
        // Of any kind, also of no directory of the host: the kubelet takes no pod with two mounts at one path.
        let mut mounts = self.list(self.container(), "volumeMounts")?.iter();
        if mounts.any(|mount| is_mounted_at(mount, &wanted.path)) {
            return Err(self.taken(wanted, true));
        }
        let volume = self.volume(&wanted.volume)?;
        let path_of = volume.and_then(|volume| volume.get("hostPath")).and_then(|host| host.get("path"));
        match (volume, path_of.and_then(Node::as_str)) {
            (None, _) => Ok(false),
            (Some(_), Some(host)) if is_path(host, &wanted.path) => Ok(false),
            _ => Err(self.taken(wanted, false)),
        }
    }

    /// The same manifest with a directory mounted.
    pub(super) fn with_mount(&self, wanted: &DirectoryMount) -> Result<Document, ManifestError> {
        let mut document = Document::parse(self.text().as_bytes())?;
        if self.is_mounted(wanted)? {
            return Ok(document);
        }
        if self.volume(&wanted.volume)?.is_none() {
            let host = [("path", Value::string(&wanted.path)), ("type", Value::string("DirectoryOrCreate"))];
            let volume =
                Value::map([("hostPath", Value::map(host)), ("name", Value::string(&wanted.volume))]);
            let end = self.list(self.spec(), "volumes")?.len();
            document = document.insert(&VOLUMES, end, &volume)?;
        }
        let mut mount = vec![
            ("mountPath".to_owned(), Value::string(&wanted.path)),
            ("name".to_owned(), Value::string(&wanted.volume)),
        ];
        if wanted.read_only {
            mount.push(("readOnly".to_owned(), Value::Bool(true)));
        }
        let end = self.list(self.container(), "volumeMounts")?.len();
        Ok(document.insert(&self.container_list("volumeMounts"), end, &Value::Map(mount))?)
    }

    /// The same manifest without the mount of a directory, and without its volume if nothing else mounts that.
    pub(super) fn without_mount(&self, directory: &DirectoryMount) -> Result<Document, ManifestError> {
        let named = |node: &Node| node.get("name").and_then(Node::as_str) == Some(&directory.volume);
        let is_ours = |node: &Node| named(node) && is_mounted_at(node, &directory.path);
        let mut document = Document::parse(self.text().as_bytes())?;
        let mounts = self.list(self.container(), "volumeMounts")?;
        for index in (0..mounts.len()).rev().filter(|index| mounts.get(*index).is_some_and(is_ours)) {
            document = if document_len(&document, &self.container_list("volumeMounts")) > 1 {
                document.remove(&self.container_list("volumeMounts"), index)?
            } else {
                document.unset(&self.container_path(), "volumeMounts")?
            };
        }
        let mut others = Vec::new();
        for list in ["containers", "initContainers"] {
            for container in self.list(self.spec(), list)? {
                let is_removed = |mount: &Node| std::ptr::eq(container, self.container()) && is_ours(mount);
                let mounts = self.list(container, "volumeMounts")?;
                others.extend(mounts.iter().filter(|mount| named(mount) && !is_removed(mount)));
            }
        }
        let volumes = self.list(self.spec(), "volumes")?;
        match volumes.iter().position(named) {
            Some(index) if others.is_empty() && volumes.len() > 1 => {
                document = document.remove(&VOLUMES, index)?
            }
            Some(_) if others.is_empty() => document = document.unset(&[Step::Key("spec")], "volumes")?,
            _ => (),
        }
        Ok(document)
    }

    fn volume(&self, name: &str) -> Result<Option<&Node>, ManifestError> {
        let volumes = self.list(self.spec(), "volumes")?;
        Ok(volumes.iter().find(|volume| volume.get("name").and_then(Node::as_str) == Some(name)))
    }

    fn taken(&self, wanted: &DirectoryMount, path: bool) -> ManifestError {
        let (node, key) = if path { (self.container(), "volumeMounts") } else { (self.spec(), "volumes") };
        let (word, value) = if path { ("mountPath", &wanted.path) } else { ("name", &wanted.volume) };
        let same = |item: &&Node| {
            let text = item.get(word).and_then(Node::as_str);
            text.is_some_and(|text| is_path(text, value))
        };
        let items = node.get(key).map(Node::items).unwrap_or_default();
        let position = self.document.position(items.iter().find(same).unwrap_or(node));
        match path {
            true => ManifestError::MountTaken { position, path: wanted.path.clone() },
            false => ManifestError::VolumeTaken { position, name: wanted.volume.clone() },
        }
    }
}

fn is_mounted_at(mount: &Node, path: &str) -> bool {
    mount.get("mountPath").and_then(Node::as_str).is_some_and(|it| is_path(it, path))
}

const VOLUMES: [Step<'static>; 2] = [Step::Key("spec"), Step::Key("volumes")];

fn document_len(document: &Document, list: &[Step<'_>]) -> usize {
    document.at(list).map_or(0, |node| node.items().len())
}
