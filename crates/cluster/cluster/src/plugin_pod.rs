//! The plugin's static pod: its manifest, what others of its kind say, and a new image in one that a person may have edited.
//!
//! The kubelet copies a static pod into etcd in clear, so a manifest has ids and names of files and never a secret. Directories are mounted
//! and no single files: a key file that is replaced by rename would never be seen (k8s-contract 5.1 and 5.3).

mod installed;
mod manifest;

use std::path::PathBuf;

use crate::yaml::{EditError, YamlError};

pub use installed::{InstalledPod, uses_socket};

/// The volume with the socket, in the plugin's pod and in kube-apiserver's.
pub const SOCKET_VOLUME: &str = "kms-plugin-socket";
/// The plugin's own default for the port of `/livez` and `/readyz`.
pub const ADMIN_PORT: u16 = 10_277;

/// What the pod of a plugin is called, and its container. A host that has several plugins tells them apart by the names of their instances.
pub fn pod_name(instance: Option<&str>) -> String {
    instance.map_or_else(|| COMPONENT.to_owned(), |it| format!("{COMPONENT}-{it}"))
}

/// What the file with the manifest of a pod of this name is called.
pub fn manifest_name(pod: &str) -> String {
    format!("{pod}-pod.yaml")
}

/// What every pod of our plugin is, in its labels.
const COMPONENT: &str = "keystead-kms-plugin";

/// What a manifest is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginPod {
    /// Of the pod and of its container.
    pub name: String,
    /// The image, with its tag.
    pub image: String,
    /// When the kubelet asks a registry.
    pub pull: ImagePull,
    /// Flags of `keystead-plugin` besides `--socket` and `--admin`.
    pub flags: Vec<String>,
    /// Variables: ids only.
    pub environment: Vec<(String, String)>,
    /// The socket, the same path in the pod and on the host.
    pub socket: PathBuf,
    /// Directories of the host that the plugin reads, under the same path in the pod.
    pub read_only: Vec<PathBuf>,
    /// Port of the host, on loopback, with `/livez` and `/readyz`.
    pub admin_port: u16,
}

/// `imagePullPolicy`, but for `Always`: a control plane must start while no registry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePull {
    /// The image is on the host, and nobody serves it.
    Never,
    /// A registry has it, which must not depend on this cluster.
    IfNotPresent,
}

impl ImagePull {
    /// The word of Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "Never",
            Self::IfNotPresent => "IfNotPresent",
        }
    }
}

/// Why a manifest was not made, read or edited.
#[derive(Debug, thiserror::Error)]
pub enum PluginPodError {
    /// No YAML, or YAML that is refused.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// It cannot be edited.
    #[error("the manifest was not edited")]
    Edit(#[from] EditError),
    /// Not our plugin's.
    #[error("no container of this pod runs keystead-plugin")]
    NotOurs,
}
