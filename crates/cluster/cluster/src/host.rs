//! One control-plane host: what is on it, and the few things that are done to it.
//!
//! A host is given a [`Task`] and gives an [`Answer`], both plain data: the same words go to this host, over ssh, and later to an agent.
//! Each change says what was seen when it was decided on, and is refused if that is not so any more. Nothing of a file's text
//! is part of a task or an answer, except of [`Task::Prepare`].

mod change;
mod files;
mod kms_way;
mod listener;
mod look;
mod plugins;
mod prepare;
mod process;
mod program;
mod settings;
mod static_pod;
mod supervisor;
mod systemd;
mod tenure;
mod unit;

use std::collections::BTreeMap;
use std::path::PathBuf;

use keystead_etcd::{ClientFiles, Connection, Layout, TlsFiles};
use serde::{Deserialize, Serialize};

use crate::api_server_manifest::{EncryptionSettings, ManifestError};
use crate::api_server_unit::UnitError;
use crate::encryption_configuration::{ConfigurationError, Finding};
use crate::kms_socket::Wrapped;
use crate::kms_way::KmsWay;
use crate::owned_file::{InFile, OwnedFileError, Places};
use crate::provider_order::{KmsPlugin, OrderError};
use crate::rollout::{Configuration, Order, Provider};

pub(crate) use files::{ConfigurationFile, Files};
pub(crate) use listener::process_at;
pub use prepare::{FileText, PluginState, Preparation, Prepared, PreparedFile};
pub(crate) use tenure::TENURE_AHEAD_MAX;

/// A control-plane host, seen from itself. Its kube-apiserver is a static pod, or a service of systemd.
#[derive(Clone, Debug)]
pub struct LocalHost {
    /// Its name, as plans have it.
    pub name: String,
    /// kube-apiserver's static pod: `/etc/kubernetes/manifests/kube-apiserver.yaml` on kubeadm hosts.
    pub manifest: PathBuf,
    /// kube-apiserver's unit of systemd. None: the manifest counts; where there is none, the unit of the kube-apiserver that runs.
    pub unit: Option<String>,
    /// Where an EncryptionConfiguration is made if there is none, in a directory that kube-apiserver sees or will see under this name.
    pub configuration: PathBuf,
    /// Directories of our own.
    pub places: Places,
    /// Whether kube-apiserver is told, with its flag, to look at its file once a minute, from Kubernetes 1.34 on. Otherwise each change of the
    /// file takes a restart.
    pub reloads: bool,
}

/// Something to ask of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "task")]
pub enum Task {
    /// Say what is there.
    Look {
        /// The resources of the rollout, as an EncryptionConfiguration names them.
        resources: Vec<String>,
        /// Plugins to ask besides those of the file.
        plugins: Vec<KmsPlugin>,
    },
    /// Have a plugin unwrap what others wrapped.
    Unwrap {
        /// Whose plugin.
        provider: Provider,
        /// Where it is, if the file does not say.
        plugins: Vec<KmsPlugin>,
        /// What others wrapped.
        wrapped: Vec<Wrapped>,
    },
    /// Change a file.
    Change {
        /// What.
        change: Change,
        /// The files as they were when that was decided.
        seen: Seen,
    },
    /// One of these, for the driver that holds the Lease.
    Under {
        /// Higher with each driver.
        tenure: u64,
        /// What it asks.
        asked: Box<Task>,
    },
    /// Get ready to join the control plane. It brings a file's text, so nobody but who may act as root here may ask it.
    Prepare {
        /// What is needed.
        preparation: Preparation,
        /// The file, where it is to be written.
        text: Option<FileText>,
    },
}

/// A change of a host's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// Give the resources these providers, and set the flag if it is not set.
    Write {
        /// As in [`Task::Look`].
        resources: Vec<String>,
        /// The providers.
        order: Order,
        /// Plugins of entries that the file does not have yet.
        plugins: Vec<KmsPlugin>,
    },
    /// Take the flag away.
    RemoveFlag {
        /// As in [`Task::Look`]. Refused if the file encrypts others.
        resources: Vec<String>,
    },
    /// Have the API server started anew.
    Restart {
        /// The process that is to end: [`Process::id`]. Twice for the same one is once.
        process: String,
    },
}

/// SHA-256 of the files that decide, in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What says how the API server is started: its manifest, or its unit with all files that belong to that.
    pub start: String,
    /// The EncryptionConfiguration that it names.
    pub configuration: Option<String>,
}

/// What a host says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// To [`Task::Look`].
    Report(Box<Report>),
    /// To [`Task::Unwrap`]: for each, why it was not unwrapped.
    Unwrapped {
        /// In the order of the task; none: it was unwrapped.
        problems: Vec<Option<String>>,
    },
    /// To [`Task::Change`].
    Done,
    /// To [`Task::Prepare`].
    Prepared(Prepared),
}

/// What is on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where its API server listens, such as `https://10.0.0.1:6443`.
    pub address: String,
    /// The y of Kubernetes 1.y, from the image's tag.
    pub minor: Option<u32>,
    /// Whether it would start with `--encryption-provider-config`, whatever file that names.
    pub has_flag: bool,
    /// The files.
    pub seen: Seen,
    /// What the API server would use if it started now, or why that is not known.
    pub on_disk: Result<Configuration, String>,
    /// All resources of the entries that are for those of the rollout: they change together.
    pub resources: Vec<String>,
    /// What earlier texts of the file said, by their SHA-256.
    pub earlier: BTreeMap<String, Configuration>,
    /// When what starts it, or the configuration, last changed, in seconds since 1970.
    pub changed: f64,
    /// `--encryption-provider-config-automatic-reload`.
    pub automatic_reload: bool,
    /// What its start says about encryption, or would say if it were switched on with the plugins of the task; or why the same cannot be
    /// said on another host.
    pub settings: Result<EncryptionSettings, String>,
    /// Resources that the file encrypts and that are not those of the rollout.
    pub others: Vec<String>,
    /// Whether a process is to end or to start, with nothing more to be done for it.
    pub is_restarting: bool,
    /// The kube-apiserver that runs.
    pub process: Option<Process>,
    /// What a person ought to know of how it is started.
    pub remarks: Vec<String>,
    /// How etcd is reached from here.
    pub etcd: EtcdAccess,
    /// The plugins of the file and of the task.
    pub plugins: Vec<PluginReport>,
}

/// A running kube-apiserver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// No other process of this host has or had it: its number, and the tick of its start.
    pub id: String,
    /// When it started, in seconds since 1970.
    pub started: f64,
    /// Whether it was started with `--encryption-provider-config`.
    pub has_flag: bool,
}

/// How kube-apiserver reaches etcd, with paths of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdAccess {
    /// `--etcd-servers`.
    pub endpoints: Vec<String>,
    /// `--etcd-cafile`.
    pub ca_file: Option<PathBuf>,
    /// `--etcd-certfile`.
    pub certificate_file: Option<PathBuf>,
    /// `--etcd-keyfile`.
    pub key_file: Option<PathBuf>,
    /// `--etcd-prefix`.
    pub prefix: String,
    /// Names of the file's providers and keys, where a stored value does not say where they end.
    pub known_names: Vec<String>,
}

impl EtcdAccess {
    /// How to connect, from this host.
    pub fn connection(&self) -> Connection {
        let client = self.certificate_file.clone().zip(self.key_file.clone());
        let client = client.map(|(certificate, key)| ClientFiles { certificate, key });
        let tls = self.ca_file.clone().map(|ca| TlsFiles { ca, client });
        Connection { endpoints: self.endpoints.clone(), tls, login: None }
    }

    /// Where in etcd this cluster is.
    pub fn layout(&self) -> Layout {
        Layout { etcd_prefix: self.prefix.clone(), known_names: self.known_names.clone() }
    }
}

/// One plugin, asked at its socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReport {
    /// The entry that it is for.
    pub provider: Provider,
    /// What it wrapped and unwrapped just now, or why it did not.
    pub probe: Result<Wrapped, String>,
    /// How it reaches its KMS.
    pub way: KmsWay,
}

/// Why a host did not do what it was asked. Its files are as they were, unless the error says otherwise; and where an API server was to be
/// given an EncryptionConfiguration and was not, that file may lie there, which nothing names then.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file.
    #[error(transparent)]
    File(#[from] OwnedFileError),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] InFile<ManifestError>),
    /// The unit of systemd.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Neither way of starting one is found.
    #[error("there is no {}, and systemd runs no kube-apiserver: name what starts it with --manifest or --unit", .0.display())]
    NoApiServer(PathBuf),
    /// Nobody says which one is meant.
    #[error("systemd runs several kube-apiservers: {}: name the one that is meant with --unit", .0.join(", "))]
    SeveralUnits(Vec<String>),
    /// Neither that it is there nor that it is not.
    #[error("cannot look for {}", path.display())]
    Unseen {
        /// What starts the API server.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// systemd starts or ends its process.
    #[error(
        "kube-apiserver is just being started or ended by {0}: wait until that is done, and run the command again"
    )]
    Changing(String),
    /// The EncryptionConfiguration.
    #[error(transparent)]
    Configuration(#[from] InFile<ConfigurationError>),
    /// kube-apiserver would not start with it.
    #[error(transparent)]
    Finding(#[from] InFile<Finding>),
    /// The providers are not as they must be, or cannot be put in that order.
    #[error(transparent)]
    Order(#[from] InFile<OrderError>),
    /// The file is in the image, in a volume that is no directory of this host, or hidden by systemd.
    #[error(
        "kube-apiserver is to read {0}, which no mount of its manifest brings there, or a directive of its unit hides: use a directory of the host that it sees"
    )]
    NotMounted(String),
    /// The running API server does not see the directory, and a mount needs a start.
    #[error(
        "kube-apiserver does not see {0}, where the plugin's socket is: put the socket into a directory that is mounted already, or mount this one and try again"
    )]
    SocketHidden(String),
    /// The flag is for them too.
    #[error("kube-apiserver's file encrypts {} too, which would be unreadable without the flag: name those with --resource as well, or take their entry out first", .0.join(", "))]
    OthersNeedFlag(Vec<String>),
    /// Another task is under way.
    #[error("another command changes the files of this host: {} is locked", .0.display())]
    Busy(PathBuf),
    /// A driver that was stopped for a while, or cut off.
    #[error(
        "this host works for a later rollout than the one that asks; if there is none, because a clock was wrong or etcd was put back, remove {} here", .0.display()
    )]
    Overtaken(PathBuf),
    /// A wrong clock, or a number that somebody made up.
    #[error(
        "the rollout that asks has the number {0}, and numbers are seconds since 1970: that is more than a day ahead of this host's clock, so one of the clocks is wrong"
    )]
    Ahead(u64),
    /// Somebody else was there.
    #[error("{} was changed since it was looked at, and was left as it is: run the command again", .0.display())]
    Changed(PathBuf),
    /// Directories of our own.
    #[error("cannot use {} for files on their way", path.display())]
    Places {
        /// One of them.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A host that joins would look for it elsewhere.
    #[error("kube-apiserver reads {path}, which is {} on this host: another host cannot be prepared for that", host.display())]
    ElsewhereInContainer {
        /// As the flag has it.
        path: String,
        /// The file here.
        host: PathBuf,
    },
    /// A plugin that does not work proves nothing.
    #[error("the plugin of {provider} on this host: {reason}")]
    Plugin {
        /// Whose.
        provider: Provider,
        /// What is wrong.
        reason: String,
    },
    /// Not what another host has.
    #[error("what was sent is no EncryptionConfiguration: {0}")]
    NoConfiguration(String),
    /// A file there would be something else.
    #[error("{} cannot be written by whoever prepares this host: {reason}", path.display())]
    NoPlace {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// It is a control-plane host already.
    #[error(
        "a kube-apiserver is set up on this host, so it has joined already: `keystead cluster enable` and its kind are for those"
    )]
    HasJoined,
    /// No plugin is known for it.
    #[error("no plugin of {0} is known on this host")]
    NoPlugin(Provider),
}

impl LocalHost {
    /// Does what is asked.
    ///
    /// # Errors
    ///
    /// A manifest that cannot be read, and a change that is not made. What cannot be found out otherwise is part of the answer.
    pub async fn perform(&self, task: &Task) -> Result<Answer, HostError> {
        match task {
            Task::Look { resources, plugins } => {
                let report = self.look(resources, plugins).await?;
                Ok(Answer::Report(Box::new(report)))
            }
            Task::Unwrap { provider, plugins, wrapped } => {
                Ok(Answer::Unwrapped { problems: self.unwrap(provider, plugins, wrapped).await? })
            }
            Task::Change { change, seen } => {
                self.change(change, seen, None)?;
                Ok(Answer::Done)
            }
            Task::Under { tenure, asked } => match &**asked {
                Task::Change { change, seen } => {
                    self.change(change, seen, Some(*tenure))?;
                    Ok(Answer::Done)
                }
                task => {
                    self.follow(*tenure)?;
                    Box::pin(self.perform(task)).await
                }
            },
            Task::Prepare { preparation, text } => {
                Ok(Answer::Prepared(self.prepare(preparation, text.as_ref()).await?))
            }
        }
    }

    /// The KMS entries of kube-apiserver's EncryptionConfiguration, with the socket of each, whatever resources they are for.
    ///
    /// # Errors
    ///
    /// A manifest or configuration that cannot be read.
    pub fn kms_entries(&self) -> Result<Vec<(Provider, PathBuf)>, HostError> {
        let file = self.files()?.configuration()?;
        let known = plugins::known(file.as_ref().map(|it| &it.text), &[]);
        Ok(known.into_iter().map(|it| (it.provider, PathBuf::from(it.socket))).collect())
    }

    /// Whether kube-apiserver sees this path of the host under the same name.
    ///
    /// # Errors
    ///
    /// A manifest that cannot be read.
    pub fn is_seen_by_api_server(&self, path: &str) -> Result<bool, HostError> {
        Ok(self.files()?.facts.host_path(path).as_deref() == Some(path))
    }

    /// The y of Kubernetes 1.y of the API server here, by the tag of its image; none where that is no version.
    ///
    /// # Errors
    ///
    /// A manifest that cannot be read.
    pub fn api_server_minor(&self) -> Result<Option<u32>, HostError> {
        Ok(self.files()?.facts.version.map(|(_, minor, _)| minor))
    }
}
