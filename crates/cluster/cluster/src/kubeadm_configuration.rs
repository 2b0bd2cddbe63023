//! kubeadm's ClusterConfiguration, from which `kubeadm upgrade` and `kubeadm join` write kube-apiserver's manifest: what is only in
//! the manifest is lost by them (kubeadm issue 2157).
//!
//! Flags are a mapping in v1beta3 and a list of names and values in v1beta4.

use crate::api_server_flags::{self, BadGate, CONFIG, FEATURE_GATES, KMS_V1, RELOAD};
use crate::api_server_manifest::{DirectoryMount, EncryptionSettings};
use crate::yaml::{Content, Document, EditError, Node, Position, Step, Value, YamlError};

/// One ClusterConfiguration, such as `kubectl -n kube-system get configmap kubeadm-config` has under that name.
pub struct ClusterConfiguration {
    document: Document,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1Beta3,
    V1Beta4,
}

const API_SERVER: Step<'static> = Step::Key("apiServer");
const ARGS: &str = "extraArgs";
const VOLUMES: &str = "extraVolumes";

/// kubeadm's `certificatesDir` where nothing is written.
const CERTIFICATES: &str = "/etc/kubernetes/pki";
/// Where distributions keep authorities; kubeadm mounts those that are there.
const AUTHORITIES: [&str; 6] = [
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
];

impl ClusterConfiguration {
    /// Reads the text of one.
    pub fn read(bytes: &[u8]) -> Result<Self, KubeadmError> {
        Self::of(Document::parse(bytes)?)
    }

    fn of(document: Document) -> Result<Self, KubeadmError> {
        let root = document.root();
        let word = |key| root.get(key).and_then(Node::as_str).unwrap_or_default();
        let version = match (word("kind"), word("apiVersion")) {
            ("ClusterConfiguration", "kubeadm.k8s.io/v1beta3") => Version::V1Beta3,
            ("ClusterConfiguration", "kubeadm.k8s.io/v1beta4") => Version::V1Beta4,
            _ => return Err(KubeadmError::Kind(document.position(root))),
        };
        let configuration = Self { document, version };
        configuration.shape()?;
        Ok(configuration)
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.document.text()
    }

    /// What a flag of kube-apiserver, named without dashes, is set to.
    ///
    /// # Errors
    ///
    /// In v1beta4, a flag that stands twice: kubeadm sorts what it writes, so that the order here decides nothing.
    pub fn flag(&self, name: &str) -> Result<Option<&str>, KubeadmError> {
        Ok(match self.version {
            Version::V1Beta3 => self.api_server(ARGS).and_then(|args| args.get(name)).and_then(Node::as_str),
            Version::V1Beta4 => self.arg(name)?.and_then(|(_, arg)| word(arg, "value")),
        })
    }

    /// The same configuration with everything that `wanted` asks for. What is there already stays as it is.
    ///
    /// # Errors
    ///
    /// A flag, a volume's name or a path that stands for something else already, and text that cannot be edited.
    pub fn with_encryption(&self, wanted: &EncryptionSettings) -> Result<Self, KubeadmError> {
        // Before any edit, so that the places in errors are those of the text that was given.
        self.ours_to_edit(wanted)?;
        for directory in &wanted.directories {
            self.has_volume(directory)?;
        }
        let mut new = Self::read(self.text().as_bytes())?;
        new = new.with_flag(CONFIG, &wanted.configuration)?;
        if let Some(on) = wanted.automatic_reload {
            new = new.with_flag(RELOAD, &on.to_string())?;
        }
        if wanted.kms_v1 {
            let given = new.flag(FEATURE_GATES)?.unwrap_or_default();
            if api_server_flags::gates(given)?.get(KMS_V1) != Some(&true) {
                let gates = api_server_flags::merged(given, KMS_V1, Some(true))?;
                new = new.with_flag(FEATURE_GATES, &gates)?;
            }
        }
        for directory in &wanted.directories {
            new = new.with_volume(directory)?;
        }
        Ok(new)
    }

    /// The same configuration without any of it. What has another name or another path than ours is somebody else's and stays.
    pub fn without_encryption(&self, settings: &EncryptionSettings) -> Result<Self, KubeadmError> {
        self.ours_to_edit(settings)?;
        let mut new = Self::read(self.text().as_bytes())?;
        for name in [CONFIG, RELOAD] {
            new = new.without_flag(name)?;
        }
        let given = if settings.kms_v1 { new.flag(FEATURE_GATES)? } else { None };
        if let Some(given) = given
            && api_server_flags::gates(given)?.contains_key(KMS_V1)
        {
            let gates = api_server_flags::merged(given, KMS_V1, None)?;
            new = match gates.is_empty() {
                true => new.without_flag(FEATURE_GATES)?,
                false => new.with_flag(FEATURE_GATES, &gates)?,
            };
        }
        for directory in &settings.directories {
            let is_ours =
                |it: &Node| word(it, "name") == Some(&directory.volume) && mounts(it, &directory.path);
            if let Some(index) = new.volumes().iter().position(is_ours) {
                new = new.without_item(VOLUMES, index)?;
            }
        }
        Ok(new)
    }

    /// Refuses a flag that is to be edited and stands twice, and a configuration that is another file.
    fn ours_to_edit(&self, wanted: &EncryptionSettings) -> Result<(), KubeadmError> {
        self.flag(RELOAD)?;
        if wanted.kms_v1 {
            self.flag(FEATURE_GATES)?;
        }
        match self.flag(CONFIG)? {
            Some(given) if given != wanted.configuration => Err(KubeadmError::OtherConfiguration {
                given: given.to_owned(),
                wanted: wanted.configuration.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn with_flag(self, name: &str, value: &str) -> Result<Self, KubeadmError> {
        if self.flag(name)? == Some(value) {
            return Ok(self);
        }
        let map = [API_SERVER, Step::Key(ARGS)];
        let (one, text) = (|value| Value::map([(name, value)]), Value::string(value));
        let named = || Value::map([("name", Value::string(name)), ("value", Value::string(value))]);
        let args = match self.version {
            Version::V1Beta3 => one(text.clone()),
            Version::V1Beta4 => Value::List(vec![named()]),
        };
        let document = match (self.is_empty(&[API_SERVER]), self.is_empty(&map), self.version) {
            (true, ..) => self.document.set(&[], "apiServer", &Value::map([(ARGS, args)]))?,
            (false, true, _) => self.document.set(&[API_SERVER], ARGS, &args)?,
            (false, false, Version::V1Beta3) => self.document.set(&map, name, &text)?,
            (false, false, Version::V1Beta4) => match self.arg(name)? {
                Some((index, _)) => {
                    self.document.set(&[API_SERVER, Step::Key(ARGS), Step::Index(index)], "value", &text)?
                }
                None => self.document.insert(&map, self.args().len(), &named())?,
            },
        };
        Self::of(document)
    }

    fn without_flag(self, name: &str) -> Result<Self, KubeadmError> {
        match self.version {
            Version::V1Beta4 => match self.arg(name)? {
                Some((index, _)) => self.without_item(ARGS, index),
                None => Ok(self),
            },
            Version::V1Beta3 => match self.api_server(ARGS).map(Node::entries) {
                Some(entries) if entries.iter().any(|entry| *entry.key == name) => {
                    if entries.len() == 1 {
                        return self.without(ARGS);
                    }
                    Self::of(self.document.unset(&[API_SERVER, Step::Key(ARGS)], name)?)
                }
                _ => Ok(self),
            },
        }
    }

    /// Whether the directory is mounted. Refuses if its name or path stand for something else.
    fn has_volume(&self, wanted: &DirectoryMount) -> Result<bool, KubeadmError> {
        if self.is_mounted_anyway(&wanted.path) {
            return Ok(true);
        }
        for volume in self.volumes() {
            if mounts(volume, &wanted.path) {
                return Ok(true);
            }
            if is_path(volume, "mountPath", &wanted.path) || word(volume, "name") == Some(&wanted.volume) {
                return Err(KubeadmError::VolumeTaken(self.document.position(volume)));
            }
        }
        Ok(false)
    }

    /// Whether kubeadm mounts the directory by itself (`cmd/kubeadm/app/phases/controlplane/volumes.go`). A second mount of the same path
    /// makes a pod that the kubelet refuses.
    fn is_mounted_anyway(&self, path: &str) -> bool {
        let certificates = self.document.root().get("certificatesDir").and_then(Node::as_str);
        let certificates = certificates.filter(|it| !it.is_empty()).unwrap_or(CERTIFICATES);
        let path = path.trim_end_matches('/');
        path == certificates.trim_end_matches('/') || AUTHORITIES.contains(&path)
    }

    fn with_volume(self, wanted: &DirectoryMount) -> Result<Self, KubeadmError> {
        if self.has_volume(wanted)? {
            return Ok(self);
        }
        let mut volume = vec![
            ("name".to_owned(), Value::string(&wanted.volume)),
            ("hostPath".to_owned(), Value::string(&wanted.path)),
            ("mountPath".to_owned(), Value::string(&wanted.path)),
        ];
        if wanted.read_only {
            volume.push(("readOnly".to_owned(), Value::Bool(true)));
        }
        volume.push(("pathType".to_owned(), Value::string("DirectoryOrCreate")));
        let list = [API_SERVER, Step::Key(VOLUMES)];
        Self::of(self.document.insert(&list, self.volumes().len(), &Value::Map(volume))?)
    }

    /// Without an item of a list, and without what becomes empty.
    fn without_item(self, list: &'static str, index: usize) -> Result<Self, KubeadmError> {
        if self.api_server(list).is_some_and(|node| node.items().len() == 1) {
            return self.without(list);
        }
        Self::of(self.document.remove(&[API_SERVER, Step::Key(list)], index)?)
    }

    /// Without a field of `apiServer`, or without `apiServer` if it has no other.
    fn without(self, key: &str) -> Result<Self, KubeadmError> {
        let only = self.document.at(&[API_SERVER]).is_some_and(|node| node.entries().len() == 1);
        let document = match only {
            true => self.document.unset(&[], "apiServer")?,
            false => self.document.unset(&[API_SERVER], key)?,
        };
        Self::of(document)
    }

    fn api_server(&self, key: &str) -> Option<&Node> {
        self.document.at(&[API_SERVER])?.get(key)
    }

    fn args(&self) -> &[Node] {
        self.api_server(ARGS).map(Node::items).unwrap_or_default()
    }

    fn volumes(&self) -> &[Node] {
        self.api_server(VOLUMES).map(Node::items).unwrap_or_default()
    }

    /// The only item of v1beta4's list with this name.
    fn arg(&self, name: &str) -> Result<Option<(usize, &Node)>, KubeadmError> {
        let mut args = self.args().iter().enumerate().filter(|(_, arg)| word(arg, "name") == Some(name));
        match (args.next(), args.next()) {
            (first, None) => Ok(first),
            (_, Some((_, second))) => Err(KubeadmError::FlagTwice {
                position: self.document.position(second),
                name: name.to_owned(),
            }),
        }
    }

    fn is_empty(&self, path: &[Step<'_>]) -> bool {
        self.document.at(path).is_none_or(|node| node.items().is_empty() && node.entries().is_empty())
    }

    /// Whether what is edited has the form of its version.
    fn shape(&self) -> Result<(), KubeadmError> {
        let flags_fit = |node: &Node| match (&node.content, self.version) {
            (Content::Mapping(entries), Version::V1Beta3) => {
                entries.iter().all(|it| it.value.as_str().is_some())
            }
            (Content::Sequence(items), Version::V1Beta4) => {
                items.iter().all(|it| word(it, "name").is_some() && word(it, "value").is_some())
            }
            (Content::Null, _) => true,
            _ => false,
        };
        let Some(api_server) = self.document.at(&[API_SERVER]) else { return Ok(()) };
        let wrong = |node: &Node| KubeadmError::Shape(self.document.position(node));
        if !matches!(api_server.content, Content::Mapping(_) | Content::Null) {
            return Err(wrong(api_server));
        }
        if let Some(flags) = api_server.get(ARGS).filter(|node| !flags_fit(node)) {
            return Err(wrong(flags));
        }
        match api_server.get(VOLUMES) {
            Some(node) if !matches!(node.content, Content::Sequence(_) | Content::Null) => Err(wrong(node)),
            _ => Ok(()),
        }
    }
}

/// Whether a volume is this directory of the host, at the same path in the container.
fn mounts(volume: &Node, path: &str) -> bool {
    let is_file = word(volume, "pathType").is_some_and(|it| it.starts_with("File"));
    is_path(volume, "mountPath", path) && is_path(volume, "hostPath", path) && !is_file
}

fn is_path(volume: &Node, key: &str, path: &str) -> bool {
    word(volume, key).is_some_and(|it| it.trim_end_matches('/') == path.trim_end_matches('/'))
}

fn word<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key).and_then(Node::as_str)
}

/// Why a ClusterConfiguration was not read or edited. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KubeadmError {
    /// No YAML, or YAML that is refused.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Another kind of file, or another version.
    #[error("{0}: not a ClusterConfiguration of kubeadm.k8s.io/v1beta3 or v1beta4")]
    Kind(Position),
    /// Flags as list in v1beta3, or numbers without quotes.
    #[error(
        "{0}: not the form that kubeadm reads: extraArgs is a mapping of text in v1beta3 and a list of name and value, both text, in v1beta4"
    )]
    Shape(Position),
    /// Twice, where kubeadm decides which one counts.
    #[error("{position}: {name} stands here for the second time: keep one of the two")]
    FlagTwice {
        /// Where the second one is.
        position: Position,
        /// The flag.
        name: String,
    },
    /// The flag leads to another file.
    #[error(
        "encryption-provider-config is {given} already, not {wanted}: edit that file, or remove the flag first"
    )]
    OtherConfiguration {
        /// What is written.
        given: String,
        /// What was to be written.
        wanted: String,
    },
    /// Its name or path stands for something else.
    #[error(
        "{0}: this volume has a name or mountPath that is needed for encryption: choose another name or path"
    )]
    VolumeTaken(Position),
    /// Neither true nor false.
    #[error(transparent)]
    FeatureGates(#[from] BadGate),
    /// The text cannot be edited.
    #[error("the ClusterConfiguration was not edited")]
    Edit(#[from] EditError),
}
