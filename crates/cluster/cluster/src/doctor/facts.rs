//! What was seen of a host and its cluster. Plain data, for the judges and for a bundle that is given away: no text of a file stands in it,
//! no value of a Secret, no key and no token.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::userinfo::without_userinfo_in;
use crate::api::ServerFacts;
use crate::api_server_unit::Doubt;
use crate::encryption_configuration::GroupResource;
use crate::kms_way::KmsWay;
use crate::pod_user::PodUser;
use crate::rollout::{Configuration, Count, Goal, Order, Provider};

/// What was seen, or why it was not.
pub type Seen<T> = Result<T, String>;

/// Everything that the checks judge.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The host's clock, in seconds since 1970.
    pub now: i64,
    /// Who looks: files of this user are in good hands.
    pub looked_as: u32,
    /// kube-apiserver's static pod and its process.
    pub manifest: Seen<ManifestFacts>,
    /// Other files of its directory that run a kube-apiserver too.
    pub twins: Seen<Vec<PathBuf>>,
    /// The EncryptionConfiguration; none: the flag is not set.
    pub configuration: Seen<Option<ConfigurationFacts>>,
    /// What the last rollout promises; none: no rollout is known here.
    pub promise: Seen<Option<Promise>>,
    /// The API server of this host.
    pub api_server: Seen<ApiServerFacts>,
    /// Those of other hosts, as far as they are known.
    pub others: Seen<Vec<ApiServerFacts>>,
    /// The plugins of the file.
    pub plugins: Seen<Vec<PluginFacts>>,
    /// What serves their sockets: manifests of static pods, and processes of our plugin.
    pub programs: Seen<Vec<PluginProgram>>,
    /// What etcd holds of the resources that are encrypted.
    pub stored: Seen<Vec<StoredFacts>>,
    /// Resources that are encrypted and that nobody can count: wildcards.
    pub uncounted: Vec<String>,
    /// etcd's alarms: kind, and member.
    pub alarms: Seen<Vec<(String, String)>>,
    /// Whether etcd holds the cluster of the kubeconfig.
    pub is_own_etcd: Seen<bool>,
    /// Flags and volumes that kubeadm's configuration lacks, by name.
    pub kubeadm: Seen<Vec<String>>,
    /// Files that must be in good hands.
    pub files: Seen<Vec<FileFacts>>,
    /// Files that were named and not looked into, with the reason.
    pub unread: Vec<String>,
    /// When certificates end.
    pub certificates: Seen<Vec<CertificateEnd>>,
    /// When tokens end, where that can be seen.
    pub tokens: Seen<Vec<TokenEnd>>,
}

/// kube-apiserver's static pod, or its unit of systemd.
#[derive(Clone, Debug, Serialize)]
pub struct ManifestFacts {
    /// The file.
    pub path: PathBuf,
    /// The unit. None: it is a static pod.
    pub unit: Option<String>,
    /// What of the unit is not in force.
    pub unit_changed: Vec<Doubt>,
    /// Where the API server listens.
    pub address: String,
    /// The y of Kubernetes 1.y, from the image's tag.
    pub minor: Option<u32>,
    /// `--encryption-provider-config`.
    pub configuration: Option<String>,
    /// The same on the host; none: no mount brings it there.
    pub configuration_on_host: Option<PathBuf>,
    /// It is mounted as a single file.
    pub mounted_alone: bool,
    /// `--encryption-provider-config-automatic-reload`.
    pub automatic_reload: bool,
    /// Whom the manifest says that it runs as.
    pub runs_as: Option<PodUser>,
    /// When manifest or configuration last changed, in seconds since 1970.
    pub changed: f64,
    /// SHA-256 of the configuration, in hexadecimal.
    pub digest: Option<String>,
    /// What the API server would use if it started now.
    pub on_disk: Seen<Configuration>,
    /// What runs.
    pub process: Option<ProcessFacts>,
}

/// A running kube-apiserver.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessFacts {
    /// Its number.
    pub pid: String,
    /// When it started, in seconds since 1970.
    pub started: f64,
    /// Whether it was started with `--encryption-provider-config`.
    pub has_flag: bool,
    /// Whom it runs as.
    pub runs_as: Option<PodUser>,
}

/// An EncryptionConfiguration.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigurationFacts {
    /// On the host.
    pub path: PathBuf,
    /// Whether keys stand in it.
    pub has_keys: bool,
    /// Its KMS entries, in the order of the file.
    pub kms: Vec<KmsEntryFacts>,
    /// Which resources have which providers, in the order of the file.
    pub entries: Vec<EntryFacts>,
    /// What kube-apiserver refuses, with the place, by what is wrong.
    pub refused: Vec<(Refusal, String)>,
}

/// What kube-apiserver refuses a file for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Two KMS entries with one name.
    NameTwice,
    /// KMS v1 without its feature gate.
    KmsV1Gate,
    /// Anything else.
    Other,
}

/// Resources, and what is done with them.
#[derive(Clone, Debug, Serialize)]
pub struct EntryFacts {
    /// As they are written.
    pub resources: Vec<String>,
    /// Who writes and who reads them.
    pub order: Order,
}

/// A KMS entry.
#[derive(Clone, Debug, Serialize)]
pub struct KmsEntryFacts {
    /// Version and name.
    pub provider: Provider,
    /// The path of the socket, or `@` and a name.
    pub socket: String,
    /// `cachesize`, of v1.
    pub cache_size: Option<i32>,
}

/// What a rollout promises.
#[derive(Clone, Debug, Serialize)]
pub struct Promise {
    /// Where it goes.
    pub goal: Goal,
    /// Whether it is there.
    pub reached: bool,
}

/// What one API server says at its own address.
#[derive(Clone, Debug, Serialize)]
pub struct ApiServerFacts {
    /// Its address.
    pub address: String,
    /// Why it does not answer at all.
    pub silent: Option<String>,
    /// Why `/readyz` is not ok.
    pub not_ready: Option<String>,
    /// Whether it gave its metrics.
    pub has_metrics: bool,
    /// SHA-256 of the EncryptionConfiguration in use, in hexadecimal.
    pub configuration: Option<String>,
    /// When it last failed to load a file, if it loaded none since; in seconds since 1970.
    pub failed_reload: Option<f64>,
    /// SHA-256 of the key id that each KMS v2 plugin last reported to it, by the name of the entry.
    pub key_ids: BTreeMap<String, String>,
    /// Its clock less ours, in seconds; none if it does not say.
    pub clock_ahead: Option<f64>,
}

/// A plugin of the file, asked at its socket.
#[derive(Clone, Debug, Serialize)]
pub struct PluginFacts {
    /// The entry.
    pub provider: Provider,
    /// Its socket.
    pub socket: String,
    /// Its key id, empty for KMS v1; or why it did not wrap and unwrap.
    pub key_id: Seen<String>,
    /// Whether kube-apiserver's container has the socket's directory under the same name.
    pub is_mounted: bool,
    /// The socket and the directories that lead to it, the outermost first. Of a name in the abstract name space: nothing.
    pub path: Seen<Vec<SocketFacts>>,
    /// What is stored under it and this plugin did not unwrap.
    pub unopened: Vec<Unopened>,
    /// What is stored under it and of which this plugin said nothing, such as because it was late.
    pub unasked: Vec<Unopened>,
    /// Names that no entry has any more and under which something is stored that this plugin unwraps.
    pub opens: Vec<Provider>,
    /// How it reaches its KMS.
    pub way: KmsWay,
}

/// A socket, or a directory on the way to it.
#[derive(Clone, Debug, Serialize)]
pub struct SocketFacts {
    /// Where.
    pub path: PathBuf,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Permissions, without the kind.
    pub mode: u32,
    /// Its owner.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

/// A key id under which something is stored, and why a plugin does not unwrap it.
#[derive(Clone, Debug, Serialize)]
pub struct Unopened {
    /// The key id.
    pub key_id: String,
    /// The plugin's words.
    pub reason: String,
}

/// What serves a plugin's socket.
#[derive(Clone, Debug, Serialize)]
pub struct PluginProgram {
    /// A manifest, or `process` and its number.
    pub from: String,
    /// Whether it is a manifest.
    pub is_manifest: bool,
    /// The sockets of the file that it has to do with.
    pub sockets: Vec<String>,
    /// Places where a secret stands in clear: names of variables and flags.
    pub secrets: Vec<String>,
    /// Whether it is told to put up with that.
    pub allows_token_in_env: bool,
    /// Of these, those that its manifest or command line names. Another may only look at the directory.
    pub serves: Vec<String>,
    /// Its key file on the host, and the key id that the file stands for; or why not.
    pub key_file: Option<(PathBuf, Seen<String>)>,
    /// Its key file, where that is no file of the host.
    pub key_file_inside: Option<PathBuf>,
}

/// What is stored of one resource.
#[derive(Clone, Debug, Serialize)]
pub struct StoredFacts {
    /// As an EncryptionConfiguration names it.
    pub resource: String,
    /// By the way in which it is stored.
    pub counts: Vec<Count>,
    /// Values that no API server can read.
    pub malformed: u64,
}

/// A file that must be in good hands.
#[derive(Clone, Debug, Serialize)]
pub struct FileFacts {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub kind: FileKind,
    /// Permissions, without the kind.
    pub mode: u32,
    /// Its owner.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Whom the pods and processes run as that name it, where that is said.
    pub named_by: BTreeSet<PodUser>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A private key in PEM.
    PrivateKey,
    /// A kubeconfig with a key or token.
    Kubeconfig,
    /// The key file of a plugin.
    KeyFile,
    /// The credentials of a plugin.
    Credentials,
    /// An EncryptionConfiguration with keys.
    ConfigurationWithKeys,
    /// An EncryptionConfiguration without keys.
    Configuration,
}

/// When a certificate ends.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateEnd {
    /// The file, and which of several.
    pub from: String,
    /// In seconds since 1970.
    pub at: i64,
}

/// When a token ends.
#[derive(Clone, Debug, Serialize)]
pub struct TokenEnd {
    /// Where it stands.
    pub from: String,
    /// In seconds since 1970.
    pub at: i64,
}

impl Facts {
    /// For a bundle that is given away: in addresses no name and no password is left.
    ///
    /// # Errors
    ///
    /// None that is known: every field has a form in JSON.
    pub fn to_bundle(&self) -> Result<serde_json::Value, serde_json::Error> {
        let mut bundle = serde_json::to_value(self)?;
        without_userinfo_in(&mut bundle);
        Ok(bundle)
    }

    /// Nothing was seen, for this reason.
    pub fn unseen(reason: &str) -> Self {
        let reason = || reason.to_owned();
        Self {
            now: 0,
            looked_as: 0,
            manifest: Err(reason()),
            twins: Err(reason()),
            configuration: Err(reason()),
            promise: Err(reason()),
            api_server: Err(reason()),
            others: Err(reason()),
            plugins: Err(reason()),
            programs: Err(reason()),
            stored: Err(reason()),
            uncounted: Vec::new(),
            alarms: Err(reason()),
            is_own_etcd: Err(reason()),
            kubeadm: Err(reason()),
            files: Err(reason()),
            unread: Vec::new(),
            certificates: Err(reason()),
            tokens: Err(reason()),
        }
    }

    pub(super) fn manifest(&self) -> Result<&ManifestFacts, String> {
        self.manifest.as_ref().map_err(|reason| format!("kube-apiserver's manifest is not known: {reason}"))
    }

    /// None: the flag is not set.
    pub(super) fn configuration(&self) -> Result<Option<&ConfigurationFacts>, String> {
        let known = self.configuration.as_ref().map(Option::as_ref);
        known.map_err(|reason| format!("the EncryptionConfiguration is not known: {reason}"))
    }

    /// What the API server would use if it started now.
    pub(super) fn on_disk(&self) -> Result<&Configuration, String> {
        let known = self.manifest()?.on_disk.as_ref();
        known.map_err(|reason| format!("what kube-apiserver would start with is not known: {reason}"))
    }

    pub(super) fn promise(&self) -> Result<Option<&Promise>, String> {
        let known = self.promise.as_ref().map(Option::as_ref);
        known.map_err(|reason| format!("it is not known what the last rollout promises: {reason}"))
    }

    /// Those of the file. An error where there is none, because then there is nothing to check.
    pub(super) fn plugins(&self) -> Result<&[PluginFacts], String> {
        match &self.plugins {
            Ok(plugins) if plugins.is_empty() => {
                Err("no KMS entry is in the EncryptionConfiguration".to_owned())
            }
            Ok(plugins) => Ok(plugins),
            Err(reason) => Err(format!("it is not known which plugins there are: {reason}")),
        }
    }

    pub(super) fn programs(&self) -> Result<&[PluginProgram], String> {
        match &self.programs {
            Ok(programs) if programs.is_empty() => Err(
                "neither a static pod nor a process of keystead-plugin was found for the sockets of the EncryptionConfiguration"
                    .to_owned(),
            ),
            Ok(programs) => Ok(programs),
            Err(reason) => Err(format!("it is not known what serves the plugins' sockets: {reason}")),
        }
    }

    /// The API server of this host, if it answers.
    pub(super) fn api_server(&self) -> Result<&ApiServerFacts, String> {
        match &self.api_server {
            Ok(server) => match &server.silent {
                None => Ok(server),
                Some(reason) => Err(format!("the API server of this host does not answer: {reason}")),
            },
            Err(reason) => Err(format!("the API server of this host was not asked: {reason}")),
        }
    }
}

impl ConfigurationFacts {
    /// What is done with a resource. None: no entry is for it.
    pub(super) fn order_of(&self, resource: &str) -> Option<&Order> {
        let resource = GroupResource::parse(resource);
        [resource.clone(), resource.whole_group(), GroupResource::everything()].iter().find_map(|wanted| {
            let is_for = |it: &&EntryFacts| it.resources.iter().any(|it| GroupResource::parse(it) == *wanted);
            self.entries.iter().find(is_for).map(|it| &it.order)
        })
    }
}

impl Promise {
    /// The command that makes the promise true again, or goes on with it.
    pub(super) fn command(&self) -> String {
        let keep = |keep: bool| if keep { " --keep-identity" } else { "" };
        let command = match &self.goal {
            _ if !self.reached => "continue".to_owned(),
            Goal::Enable { to, keep_identity } | Goal::Migrate { to, keep_identity } => {
                format!("migrate --to {to}{}", keep(*keep_identity))
            }
            Goal::Rotate { .. } => "rotate".to_owned(),
            Goal::Disable => "disable".to_owned(),
            Goal::Undo { .. } => "undo".to_owned(),
        };
        format!("keystead cluster {command} --yes")
    }
}

impl ApiServerFacts {
    /// From what it answered.
    pub(super) fn of(address: String, facts: ServerFacts, clock_ahead: Option<f64>) -> Self {
        let silent =
            if facts.minor.is_none() && clock_ahead.is_none() { facts.not_ready.clone() } else { None };
        Self {
            address,
            silent,
            not_ready: facts.not_ready,
            has_metrics: facts.reloads.is_some(),
            configuration: facts.configuration,
            failed_reload: facts.failed_reload,
            key_ids: facts.key_ids,
            clock_ahead,
        }
    }
}

#[cfg(test)]
impl Facts {
    /// A manifest whose file has this, and nothing else.
    pub(super) fn of_file(on_disk: Configuration) -> Self {
        let manifest = ManifestFacts {
            path: "/etc/kubernetes/manifests/kube-apiserver.yaml".into(),
            unit: None,
            unit_changed: Vec::new(),
            address: "https://10.0.0.1:6443".to_owned(),
            minor: Some(36),
            configuration: Some("/etc/kubernetes/enc/a.yaml".to_owned()),
            configuration_on_host: Some("/etc/kubernetes/enc/a.yaml".into()),
            mounted_alone: false,
            automatic_reload: true,
            runs_as: None,
            changed: 0.0,
            digest: None,
            on_disk: Ok(on_disk),
            process: None,
        };
        Self {
            manifest: Ok(manifest),
            promise: Ok(None),
            stored: Ok(Vec::new()),
            ..Self::unseen("not in this test")
        }
    }

    /// So many objects that are stored so.
    pub(super) fn with_stored(mut self, provider: &Provider, objects: u64) -> Self {
        let stored_as = crate::rollout::StoredAs { provider: provider.clone(), key_id: None };
        let counts = vec![Count { stored_as, objects }];
        let stored = StoredFacts { resource: "secrets".to_owned(), counts, malformed: 0 };
        self.stored.iter_mut().for_each(|it| it.push(stored.clone()));
        self
    }
}

#[cfg(test)]
impl PluginFacts {
    /// One that is well.
    pub(in crate::doctor) fn well(provider: Provider, socket: &str) -> Self {
        Self {
            provider,
            socket: socket.to_owned(),
            key_id: Ok("k".to_owned()),
            is_mounted: true,
            path: Ok(Vec::new()),
            unopened: Vec::new(),
            unasked: Vec::new(),
            opens: Vec::new(),
            way: KmsWay::default(),
        }
    }
}
