//! kube-apiserver's static pod: its flags, what it mounts, and edits of both.
//!
//! Mounted are directories and never single files: a file that is mounted stays the one that it was, so that a configuration that is
//! replaced by rename is never seen, and neither is a socket that a plugin makes anew (k8s-contract 5.1).

mod annotation;
mod change;
mod command;
mod mounts;

use std::collections::BTreeSet;

use crate::api_server_facts::{BadFlag, Facts};
use crate::api_server_flags::BadGate;
use crate::pod_user::PodUser;
use crate::yaml::{Content, Document, EditError, Node, Position, Step, YamlError};

pub use change::{EncryptionSettings, ManifestEdit};
pub use mounts::{DirectoryMount, Mount};

/// A manifest that runs kube-apiserver.
pub struct ApiServerManifest {
    document: Document,
    /// Index of kube-apiserver among the containers.
    container: usize,
}

/// Why a manifest was not read, planned or edited. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No YAML, or YAML that is refused.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Not `kind: Pod`.
    #[error("{0}: this is no pod: `apiVersion: v1` and `kind: Pod` are needed")]
    NotAPod(Position),
    /// No container, or several.
    #[error("{0}: the pod must have exactly one container that runs kube-apiserver")]
    Container(Position),
    /// `sh -c` and the like.
    #[error("{0}: kube-apiserver is not the program of this command: write it with its flags as a list")]
    Command(Position),
    /// A word that is no flag, such as `serve` or `--`.
    #[error("{0}: this word is neither a flag nor the value of one: write each flag as --NAME=VALUE")]
    Word(Position),
    /// Not text.
    #[error("{0}: a flag must be text: put it in quotes")]
    Flag(Position),
    /// Twice, where the last one counts.
    #[error("{position}: --{name} stands here for the second time: keep one of the two")]
    FlagTwice {
        /// Where the second one is.
        position: Position,
        /// The flag.
        name: String,
    },
    /// A value that kube-apiserver does not start with.
    #[error("{position}: --{name} must be {wanted}")]
    Value {
        /// Where the flag is.
        position: Position,
        /// The flag.
        name: &'static str,
        /// What it may be.
        wanted: &'static str,
    },
    /// Neither true nor false.
    #[error(transparent)]
    FeatureGates(#[from] BadGate),
    /// The flag leads to another file.
    #[error(
        "--encryption-provider-config is {given} already, not {wanted}: edit that file, or remove the flag first"
    )]
    OtherConfiguration {
        /// What is written.
        given: String,
        /// What was to be written.
        wanted: String,
    },
    /// Somebody else's mount.
    #[error("{position}: {path} in the container is the mount of another volume already")]
    MountTaken {
        /// Where.
        position: Position,
        /// The path.
        path: String,
    },
    /// Somebody else's volume.
    #[error("{position}: the volume {name} is something else already: choose another name")]
    VolumeTaken {
        /// Where.
        position: Position,
        /// Its name.
        name: String,
    },
    /// A list that is none.
    #[error("{0}: this must be a list")]
    List(Position),
    /// The text cannot be edited.
    #[error("the manifest was not edited")]
    Edit(#[from] EditError),
}

impl ApiServerManifest {
    /// Reads the bytes of a manifest.
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::of(Document::parse(bytes)?)
    }

    fn of(document: Document) -> Result<Self, ManifestError> {
        let root = document.root();
        let is = |key: &str, value: &str| root.get(key).and_then(Node::as_str) == Some(value);
        if !is("apiVersion", "v1") || !is("kind", "Pod") {
            return Err(ManifestError::NotAPod(document.position(root)));
        }
        let containers =
            root.get("spec").and_then(|spec| spec.get("containers")).map(Node::items).unwrap_or_default();
        let mut found =
            containers.iter().enumerate().filter(|(_, container)| command::is_kube_apiserver(container));
        let (Some((container, _)), None) = (found.next(), found.next()) else {
            return Err(ManifestError::Container(document.position(root)));
        };
        let manifest = Self { container, document };
        // Before anything is planned with it.
        manifest.flags()?;
        manifest.mounts()?;
        Ok(manifest)
    }

    /// The text of the manifest.
    pub fn text(&self) -> &str {
        self.document.text()
    }

    /// Everything that it says, at once. Paths are those inside the container.
    ///
    /// # Errors
    ///
    /// A number or a truth value that is none: kube-apiserver does not start with it.
    pub fn facts(&self) -> Result<Facts, ManifestError> {
        let flags = self.flags()?;
        let facts = Facts::of_flags(flags.iter().map(|it| (it.name.as_str(), it.value.as_deref())));
        let facts = facts.map_err(|error| match error {
            BadFlag::Gate(gate) => ManifestError::FeatureGates(gate),
            BadFlag::Value { name, wanted } => {
                let position = flags.iter().rfind(|it| it.name == name).map(|it| self.flag_position(it));
                let position = position.unwrap_or_else(|| self.document.position(self.container()));
                ManifestError::Value { position, name, wanted }
            }
        })?;
        let image = self.container().get("image").and_then(Node::as_str).map(str::to_owned);
        Ok(Facts { mounts: self.mounts()?, ..facts.of_image(image) })
    }

    /// Whom its containers run as; nobody where the image decides.
    pub(crate) fn users(&self) -> BTreeSet<PodUser> {
        PodUser::of(&self.document)
    }

    fn spec(&self) -> &Node {
        let root = self.document.root();
        root.get("spec").unwrap_or(root)
    }

    fn container(&self) -> &Node {
        let containers = self.spec().get("containers").map(Node::items).unwrap_or_default();
        containers.get(self.container).unwrap_or(self.document.root())
    }

    /// The items of a list; of none, no items.
    fn list<'n>(&self, node: &'n Node, key: &str) -> Result<&'n [Node], ManifestError> {
        match node.get(key) {
            None | Some(Node { content: Content::Null, .. }) => Ok(&[]),
            Some(Node { content: Content::Sequence(items), .. }) => Ok(items),
            Some(other) => Err(ManifestError::List(self.document.position(other))),
        }
    }

    fn container_path(&self) -> [Step<'static>; 3] {
        [Step::Key("spec"), Step::Key("containers"), Step::Index(self.container)]
    }

    fn container_list(&self, list: &'static str) -> [Step<'static>; 4] {
        let [spec, containers, index] = self.container_path();
        [spec, containers, index, Step::Key(list)]
    }
}
