//! Where a plugin is installed on a host, and how the commands about that are told to act.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use keystead_cluster::host::LocalHost;
use keystead_cluster::owned_file::Places;
use keystead_cluster::plugin_pod::{InstalledPod, manifest_name, pod_name};
use keystead_runtime::{Failure, Span};

use super::instance::Instance;
use super::settings_of_service;
use crate::state_directory;

/// The host's directories.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "This host")]
pub(super) struct HostArgs {
    /// Which of several plugins of this host it is. Each has a pod or a unit, a socket, settings and an admin port of its own [default: the one
    /// without a name]
    #[arg(long, value_name = "NAME")]
    instance: Option<Instance>,
    /// The kubelet's directory of static pods; kube-apiserver.yaml is looked for in it
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/kubernetes/manifests")]
    manifests: PathBuf,
    /// For new text of manifests before it gets its name: on the same file system, and not the directory of static pods
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/kubernetes/keystead")]
    staging: PathBuf,
    /// For what was replaced or removed [default: /var/lib/keystead for root, otherwise keystead in XDG_STATE_HOME]
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
    /// Where systemd looks for units
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/systemd/system")]
    units: PathBuf,
    /// Where systemd-tmpfiles looks for directories to make at each boot
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/tmpfiles.d")]
    tmpfiles: PathBuf,
    /// The settings of a plugin under systemd, for root alone [default: /etc/keystead/plugin.env, with --instance
    /// /etc/keystead/plugin-NAME.env]
    #[arg(long, value_name = "FILE")]
    environment_file: Option<PathBuf>,
    /// Where the plugin's program is put for systemd
    #[arg(long, value_name = "DIRECTORY", default_value = "/usr/local/bin")]
    programs: PathBuf,
}

/// Whether it is done, and how long is waited for it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConsentArgs {
    /// Check everything, print what would be written, and stop
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
    /// Do it
    #[arg(long)]
    pub(super) yes: bool,
    /// Do not wait until it has taken effect
    #[arg(long)]
    pub(super) no_wait: bool,
    /// How long to wait for it
    #[arg(long, value_name = "TIME", default_value = "3m")]
    pub(super) patience: Span,
}

/// In which way a program of ours runs on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// A static pod, started by the kubelet
    StaticPod,
    /// A service with a socket of systemd's, started before the kubelet
    Systemd,
}

impl HostArgs {
    pub(super) fn instance(&self) -> Option<&Instance> {
        self.instance.as_ref()
    }

    /// What a command that is to be about the same plugin has to say besides.
    pub(super) fn more_words(&self) -> String {
        self.instance.as_ref().map(|it| format!(" --instance {it}")).unwrap_or_default()
    }

    /// Of the pod and of its container.
    pub(super) fn pod_name(&self) -> String {
        pod_name(self.instance.as_ref().map(Instance::as_str))
    }

    /// Where its socket is if nobody says.
    pub(super) fn default_socket(&self, form: Form) -> PathBuf {
        let directory = Path::new(if form == Form::StaticPod { "/tmp/keystead" } else { "/run/keystead" });
        let below = self.instance.as_ref().map(|it| directory.join(it.as_str()));
        below.unwrap_or_else(|| directory.to_owned()).join("kms.sock")
    }

    pub(super) fn manifests(&self) -> &Path {
        &self.manifests
    }

    pub(super) fn plugin_manifest(&self) -> PathBuf {
        self.manifests.join(manifest_name(&self.pod_name()))
    }

    pub(super) fn api_server_manifest(&self) -> PathBuf {
        self.manifests.join("kube-apiserver.yaml")
    }

    pub(super) fn places(&self) -> Result<Places, Failure> {
        let state = self.state.clone().map_or_else(state_directory, Ok)?;
        Ok(Places { staging: self.staging.clone(), previous: state.join("previous") })
    }

    /// What systemd calls its service.
    pub(super) fn service_name(&self) -> String {
        self.unit("service")
    }

    pub(super) fn socket_name(&self) -> String {
        self.unit("socket")
    }

    fn unit(&self, kind: &str) -> String {
        let instance = self.instance.as_ref().map(|it| format!("@{it}")).unwrap_or_default();
        format!("{PROGRAM}{instance}.{kind}")
    }

    pub(super) fn service(&self) -> PathBuf {
        self.units.join(self.service_name())
    }

    pub(super) fn socket_unit(&self) -> PathBuf {
        self.units.join(self.socket_name())
    }

    /// What the service gets besides its unit.
    pub(super) fn service_drop_in(&self) -> PathBuf {
        self.units.join(format!("{}.d/install.conf", self.service_name()))
    }

    pub(super) fn socket_drop_in(&self) -> PathBuf {
        self.units.join(format!("{}.d/install.conf", self.socket_name()))
    }

    pub(super) fn environment_file(&self) -> PathBuf {
        let default = || Path::new("/etc/keystead").join(format!("plugin{}.env", self.suffix()));
        self.environment_file.clone().unwrap_or_else(default)
    }

    pub(super) fn tmpfiles(&self) -> PathBuf {
        self.tmpfiles.join(format!("{PROGRAM}{}.conf", self.suffix()))
    }

    fn suffix(&self) -> String {
        self.instance.as_ref().map(|it| format!("-{it}")).unwrap_or_default()
    }

    /// The admin port that this plugin is installed with in a form; none where it is not, or says none.
    pub(super) fn admin_port(&self, form: Form) -> Option<u16> {
        match form {
            Form::StaticPod => {
                InstalledPod::read(&fs::read(self.plugin_manifest()).ok()?).ok()??.admin_port()
            }
            Form::Systemd => settings_of_service::admin_port(self),
        }
    }

    /// Every plugin that this host may have: the one without a name, and the instances that something is there of.
    pub(super) fn all(&self) -> Vec<Self> {
        let of = |instance| Self { instance, environment_file: None, ..self.clone() };
        let mut all = vec![of(None)];
        all.extend(self.instances().into_iter().map(|it| of(Some(it))));
        all
    }

    /// The names of instances for which there is a pod or a service.
    fn instances(&self) -> BTreeSet<Instance> {
        let names = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.filter_map(|it| it.file_name().into_string().ok()).collect::<Vec<_>>()
        };
        let (pod, file) = (pod_name(Some("")), manifest_name(""));
        let pods = names(&self.manifests);
        let pods = pods.iter().filter_map(|it| it.strip_prefix(&*pod)?.strip_suffix(&*file));
        let services = names(&self.units);
        let template = format!("{PROGRAM}@");
        let services = services.iter().filter_map(|it| it.strip_prefix(&*template)?.strip_suffix(".service"));
        pods.chain(services).filter_map(|it| it.parse().ok()).collect()
    }

    /// Whether there is something that makes directories at each boot.
    pub(super) fn has_tmpfiles(&self) -> bool {
        self.tmpfiles.is_dir()
    }

    pub(super) fn program(&self) -> PathBuf {
        self.programs.join(PROGRAM)
    }

    /// The host as rollouts see it.
    pub(super) fn as_local_host(&self) -> Result<LocalHost, Failure> {
        Ok(LocalHost {
            name: "this host".to_owned(),
            manifest: self.api_server_manifest(),
            unit: None,
            configuration: PathBuf::from("/etc/kubernetes/pki/encryption-configuration.yaml"),
            places: self.places()?,
            // It only looks.
            reloads: true,
        })
    }

    /// How the plugin is installed here.
    pub(super) fn form(&self) -> Result<Form, Failure> {
        match (self.plugin_manifest().exists(), self.service().exists()) {
            (true, false) => Ok(Form::StaticPod),
            (false, true) => Ok(Form::Systemd),
            (true, true) => Err(Failure::new("the plugin is installed as a static pod and under systemd")
                .usage()
                .hint("say which one is meant with --as".to_owned())),
            (false, false) => {
                let names: Vec<String> = self.instances().iter().map(ToString::to_string).collect();
                let hint = match names.is_empty() {
                    true => "`keystead plugin install` installs one".to_owned(),
                    false => {
                        format!("name one of those that are there with --instance: {}", names.join(", "))
                    }
                };
                Err(Failure::new(format!(
                    "no plugin is installed here: neither {} nor {} exists",
                    self.plugin_manifest().display(),
                    self.service().display()
                ))
                .hint(hint))
            }
        }
    }
}

impl ConsentArgs {
    /// Whether the plan that was printed is carried out.
    pub(super) fn given(&self) -> Result<bool, Failure> {
        match (self.dry_run, self.yes) {
            (true, _) => Ok(false),
            (false, true) => Ok(true),
            (false, false) => {
                Err(Failure::new("nothing was done yet").hint("run it again with --yes".to_owned()))
            }
        }
    }
}

/// The plugin's program.
pub(super) const PROGRAM: &str = "keystead-plugin";
