//! The directory of static pods.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use keystead_model::ErrorChain;
use keystead_runtime::whole_file::{self, Readers};
use zeroize::Zeroizing;

use super::host::Host;
use super::mounts::Mounts;
use crate::api_server_manifest::ApiServerManifest;
use crate::doctor::facts::Seen;
use crate::pod_user::PodUser;
use crate::yaml::{Document, MAX_LEN, Node, Step};

/// Files that are read; a control-plane host has some five.
const FILES_MAX: usize = 64;

/// What is there.
pub(super) struct Directory {
    /// Other files that run a kube-apiserver: the kubelet takes every file for a pod.
    pub(super) twins: Vec<PathBuf>,
    /// Files that flags of any pod name, where they are on the host, with the users of those pods.
    pub(super) words: BTreeMap<PathBuf, BTreeSet<PodUser>>,
    /// Files that could not be read.
    pub(super) unread: Vec<String>,
    /// The other pods.
    pub(super) pods: Vec<Pod>,
}

/// A static pod that is not kube-apiserver's.
pub(super) struct Pod {
    pub(super) path: PathBuf,
    /// Secrets may stand in it.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// All containers' commands and arguments.
    pub(super) words: Vec<Zeroizing<String>>,
    /// Variables with the values that stand in the manifest.
    pub(super) environment: Vec<(String, Zeroizing<String>)>,
    /// Whom its containers run as.
    pub(super) users: BTreeSet<PodUser>,
    pub(super) mounts: Mounts,
}

impl Directory {
    /// With what is known of kube-apiserver. Where systemd runs it, there need be no directory.
    pub(super) fn read(manifest: &Path, host: &Host) -> Seen<Self> {
        let path = manifest.parent().unwrap_or(Path::new("/"));
        let entries = match fs::read_dir(path) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == ErrorKind::NotFound && host.unit_files.is_some() => None,
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let mut paths: Vec<PathBuf> =
            entries.into_iter().flatten().filter_map(|it| Some(it.ok()?.path())).collect();
        paths.sort();
        let named = host.unit_files.iter().flatten().map(|it| (it.clone(), host.users.clone())).collect();
        let text = host.text.as_ref();
        let mut directory = Self { twins: Vec::new(), words: named, unread: Vec::new(), pods: Vec::new() };
        for path in paths.into_iter().filter(|it| is_taken(it)).take(FILES_MAX) {
            // The kubelet follows links.
            let bytes = match whole_file::read(&path, Readers::Everybody, MAX_LEN) {
                Ok((bytes, _)) => bytes,
                Err(error) => {
                    directory.unread.push(ErrorChain(&error).to_string());
                    continue;
                }
            };
            let Ok(document) = Document::parse(&bytes) else {
                directory.unread.push(format!("{} is no YAML", path.display()));
                continue;
            };
            let words = words(&document);
            let (users, mounts) = (PodUser::of(&document), Mounts::of(&document));
            let is_api_server = ApiServerManifest::read(&bytes).is_ok();
            for word in words.iter().filter_map(|it| value(it)).filter(|it| it.starts_with('/')) {
                let host = match is_api_server {
                    true => text
                        .and_then(|it| it.host_path(word))
                        .or_else(|| Some(word.to_owned()))
                        .map(PathBuf::from),
                    // What no mount brings there is inside the image.
                    false => mounts.host(Path::new(word)),
                };
                if let Some(host) = host {
                    directory.words.entry(host).or_default().extend(users.iter().cloned());
                }
            }
            if !is_api_server {
                let environment = environment(&document);
                directory.pods.push(Pod { path, bytes, words, environment, users, mounts });
            } else if path != manifest || host.unit_files.is_some() {
                directory.twins.push(path);
            }
        }
        Ok(directory)
    }
}

/// What the kubelet takes for a pod: any file whose name does not begin with a dot.
fn is_taken(path: &Path) -> bool {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    !name.starts_with('.') && path.is_file()
}

/// What stands behind `=`, or the word itself.
fn value(word: &str) -> Option<&str> {
    if word.starts_with('-') { word.split_once('=').map(|(_, value)| value) } else { Some(word) }
}

fn containers(document: &Document) -> impl Iterator<Item = &Node> {
    let spec = document.at(&[Step::Key("spec")]);
    ["initContainers", "containers"]
        .into_iter()
        .filter_map(move |it| spec.and_then(|spec| spec.get(it)))
        .flat_map(Node::items)
}

fn words(document: &Document) -> Vec<Zeroizing<String>> {
    let lists = containers(document).flat_map(|it| ["command", "args"].map(|key| it.get(key)));
    let items = lists.flatten().flat_map(Node::items).filter_map(Node::as_str);
    items.map(|it| Zeroizing::new(it.to_owned())).collect()
}

fn environment(document: &Document) -> Vec<(String, Zeroizing<String>)> {
    let variables = containers(document).filter_map(|it| it.get("env")).flat_map(Node::items);
    let word = |node: &Node, key| node.get(key).and_then(Node::as_str).map(str::to_owned);
    variables.filter_map(|it| Some((word(it, "name")?, Zeroizing::new(word(it, "value")?)))).collect()
}
