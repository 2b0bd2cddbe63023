//! Where a plugin is installed on a host, and how the commands about that are told to act.

use std::path::{Path, PathBuf};

use keystead_cluster::host::LocalHost;
use keystead_cluster::owned_file::Places;
use keystead_cluster::plugin_pod::MANIFEST_NAME;
use keystead_runtime::{Failure, Span};

use crate::state_directory;

/// The host's directories.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "This host")]
pub(super) struct HostArgs {
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
    /// The settings of a plugin under systemd, for root alone
    #[arg(long, value_name = "FILE", default_value = "/etc/keystead/plugin.env")]
    environment_file: PathBuf,
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

/// In which way the plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// A static pod, started by the kubelet
    StaticPod,
    /// A service with a socket of systemd's, started before the kubelet
    Systemd,
}

impl HostArgs {
    pub(super) fn manifests(&self) -> &Path {
        &self.manifests
    }

    pub(super) fn plugin_manifest(&self) -> PathBuf {
        self.manifests.join(MANIFEST_NAME)
    }

    pub(super) fn api_server_manifest(&self) -> PathBuf {
        self.manifests.join("kube-apiserver.yaml")
    }

    pub(super) fn places(&self) -> Result<Places, Failure> {
        let state = self.state.clone().map_or_else(state_directory, Ok)?;
        Ok(Places { staging: self.staging.clone(), previous: state.join("previous") })
    }

    pub(super) fn service(&self) -> PathBuf {
        self.units.join("keystead-plugin.service")
    }

    pub(super) fn socket_unit(&self) -> PathBuf {
        self.units.join("keystead-plugin.socket")
    }

    /// What the service gets besides its unit.
    pub(super) fn service_drop_in(&self) -> PathBuf {
        self.units.join("keystead-plugin.service.d/install.conf")
    }

    pub(super) fn socket_drop_in(&self) -> PathBuf {
        self.units.join("keystead-plugin.socket.d/install.conf")
    }

    pub(super) fn environment_file(&self) -> &Path {
        &self.environment_file
    }

    pub(super) fn tmpfiles(&self) -> PathBuf {
        self.tmpfiles.join("keystead-plugin.conf")
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
            (false, false) => Err(Failure::new(format!(
                "no plugin is installed here: neither {} nor {} exists",
                self.plugin_manifest().display(),
                self.service().display()
            ))
            .hint("`keystead plugin install` installs one".to_owned())),
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
