//! What every command about a rollout is told: the hosts, the API servers, and where the rollout is remembered.

use std::path::PathBuf;

use keystead_cluster::api::{ApiServer, Kubeconfig};
use keystead_cluster::executor::{HostAccess, Record, SshHost, refuse_name};
use keystead_cluster::host::LocalHost;
use keystead_cluster::owned_file::Places;
use keystead_runtime::Failure;

use super::reencrypt::exit;
use crate::state_directory;

/// The host that this runs on, and its files.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "This host")]
pub(crate) struct LocalArgs {
    /// kube-apiserver's static pod
    #[arg(long, value_name = "FILE", default_value = "/etc/kubernetes/manifests/kube-apiserver.yaml")]
    manifest: PathBuf,
    /// kube-apiserver's unit of systemd, such as kube-apiserver.service, where no kubelet runs it [default: if there is no manifest, the unit
    /// that has our drop-in, or that of the kube-apiserver that runs]
    #[arg(long, value_name = "UNIT", value_parser = unit, conflicts_with = "manifest")]
    unit: Option<String>,
    /// Where an EncryptionConfiguration is made if there is none yet
    #[arg(long, value_name = "FILE", default_value = "/etc/kubernetes/pki/encryption-configuration.yaml")]
    configuration: PathBuf,
    /// For what was replaced, and for what a rollout remembers [default: /var/lib/keystead for root, otherwise keystead in
    /// XDG_STATE_HOME]
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
    /// For new text of files before it gets its name: on the file system of those files, and not a directory of theirs. A drop-in of systemd is
    /// made beside its place
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/kubernetes/keystead")]
    staging: PathBuf,
    /// Where kube-apiserver gets its flag, do not have it look at its file once a minute: it is restarted at each step instead, which is quicker, and
    /// away for those seconds
    #[arg(long)]
    no_reload: bool,
    /// The name of this host's Node [default: the host's name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct FleetArgs {
    #[command(flatten)]
    local: LocalArgs,
    /// How the other control-plane hosts are asked. `ssh`: with the system's ssh, where `keystead` must be installed and the user may act as root.
    /// `cluster`: run the same command on each of them, and they find each other through the cluster; not for `status`, `verify` and `prepare-host`
    #[arg(long, value_name = "WAY")]
    over: Option<Way>,
    /// Another control-plane host, as for ssh, or the name of its Node; again for more [default with `--over cluster`: all other nodes of the
    /// control plane]
    #[arg(long = "host", value_name = "HOST", requires = "over")]
    hosts: Vec<String>,
    /// What is run on the other hosts
    #[arg(long, value_name = "PROGRAM", default_value = "keystead", requires = "over")]
    remote_program: String,
    /// A control-plane host that is gone for good; again for more
    #[arg(long, value_name = "HOST")]
    pub(super) removed: Vec<String>,
    /// The kubeconfig; several with `:` between them are merged [default: /etc/kubernetes/admin.conf]
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<String>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Way {
    Ssh,
    Cluster,
}

impl LocalArgs {
    pub(crate) fn state(&self) -> Result<PathBuf, Failure> {
        self.state.clone().map_or_else(state_directory, Ok)
    }

    pub(crate) fn host(&self) -> Result<LocalHost, Failure> {
        let name = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(LocalHost {
            name: self.node.clone().unwrap_or_else(name),
            manifest: self.manifest.clone(),
            unit: self.unit.clone(),
            configuration: self.configuration.clone(),
            places: Places { staging: self.staging.clone(), previous: self.state()?.join("previous") },
            reloads: !self.no_reload,
        })
    }

    /// The same files on another host.
    fn words(&self) -> Vec<String> {
        let path = |flag: &str, path: &PathBuf| [flag.to_owned(), path.display().to_string()];
        let mut words: Vec<String> =
            [path("--configuration", &self.configuration), path("--staging", &self.staging)]
                .into_iter()
                .flatten()
                .collect();
        // Each host runs its API server in its own way, where nobody says which.
        words.extend(match &self.unit {
            Some(unit) => ["--unit".to_owned(), unit.clone()],
            None => path("--manifest", &self.manifest),
        });
        words.extend(self.no_reload.then(|| "--no-reload".to_owned()));
        words.extend(self.state.iter().flat_map(|it| path("--state", it)));
        words
    }
}

/// A name that systemd takes for that of a service.
fn unit(text: &str) -> Result<String, String> {
    let name = text.strip_suffix(".service").unwrap_or(text);
    let is_letter = |it: char| it.is_ascii_alphanumeric() || ":-_.\\@".contains(it);
    match !name.is_empty() && !name.starts_with('-') && name.chars().all(is_letter) {
        true => Ok(format!("{name}.service")),
        false => {
            Err("it must be the name of a service of systemd, such as kube-apiserver.service".to_owned())
        }
    }
}

impl FleetArgs {
    pub(super) fn kubeconfig(&self) -> Kubeconfig {
        Kubeconfig { files: self.kubeconfig.clone(), context: self.context.clone() }
    }

    pub(super) fn state(&self) -> Result<PathBuf, Failure> {
        self.local.state()
    }

    /// This host.
    pub(super) fn here(&self) -> Result<LocalHost, Failure> {
        self.local.host()
    }

    /// Whether each host has a command of its own.
    pub(super) fn is_over_cluster(&self) -> bool {
        matches!(self.over, Some(Way::Cluster))
    }

    /// Through the cluster a host is asked only while a rollout's command runs there.
    ///
    /// # Errors
    ///
    /// `--over cluster` was given.
    pub(super) fn refuse_over_cluster(&self) -> Result<(), Failure> {
        match self.is_over_cluster() {
            false => Ok(()),
            true => Err(Failure::new(
                "--over cluster is for commands that run on each host at once, and this one runs on one host",
            )
            .usage()
            .hint(
                "name the other hosts with --over ssh --host HOST; without them `status` and `verify` look at this host alone"
                    .to_owned(),
            )),
        }
    }

    /// A name that no Node can have, before anybody is waited for who is asked under it.
    ///
    /// # Errors
    ///
    /// `--over cluster` was given, with one of those.
    pub(super) fn refuse_names(&self) -> Result<(), Failure> {
        if !self.is_over_cluster() {
            return Ok(());
        }
        let here = self.here()?.name;
        let mut names = std::iter::once(&here).chain(&self.hosts);
        names.try_for_each(|it| refuse_name(it)).map_err(|reason| {
            Failure::new(reason).usage().hint(
                "--node and --host take names as `kubectl get nodes` shows them; without --node this host's own name is taken"
                    .to_owned(),
            )
        })
    }

    /// The names of the other hosts with commands of their own.
    pub(super) async fn peers(&self, server: &ApiServer) -> Result<Vec<String>, Failure> {
        if !self.hosts.is_empty() {
            return Ok(self.hosts.clone());
        }
        let here = self.here()?.name;
        let nodes = server.control_plane_nodes().await;
        let nodes = nodes.map_err(|error| Failure::from_error(&error).exit(exit(error.class())))?;
        let others = nodes.into_iter().map(|it| it.name).filter(|it| *it != here);
        Ok(others.filter(|it| !self.removed.contains(it)).collect())
    }

    /// Takes the hosts that are gone into the record, and those that are named out of it.
    pub(super) async fn remove(
        &self,
        record: &mut Record,
        hosts: &[HostAccess],
        server: &ApiServer,
    ) -> Result<(), Failure> {
        record.removed.retain(|name| hosts.iter().all(|it| it.name() != name));
        if self.removed.is_empty() {
            return Ok(());
        }
        let nodes = server.control_plane_nodes().await;
        let nodes = nodes.map_err(|error| Failure::from_error(&error).exit(exit(error.class())))?;
        for name in &self.removed {
            if hosts.iter().any(|it| it.name() == name) {
                return Err(Failure::new(format!("{name} cannot be a host and be removed")).usage());
            }
            let is_known = record.servers.contains_key(name) || nodes.iter().any(|it| it.name == *name);
            if !is_known {
                return Err(Failure::new(format!("no control-plane host {name} was ever seen"))
                    .usage()
                    .hint(
                        "--removed takes the name under which `keystead cluster status` or kubectl showed it"
                            .to_owned(),
                    ));
            }
            record.removed.insert(name.clone());
        }
        Ok(())
    }

    /// This host, and those that ssh reaches.
    pub(super) fn hosts(&self) -> Result<Vec<HostAccess>, Failure> {
        let mut hosts = vec![HostAccess::Local(self.local.host()?)];
        match self.over {
            Some(Way::Cluster) => return Ok(hosts),
            Some(Way::Ssh) if self.hosts.is_empty() => {
                return Err(Failure::new("--over ssh reaches which hosts? Name each with --host").usage());
            }
            _ => {}
        }
        let mut command = vec![self.remote_program.clone(), "cluster".to_owned(), "host".to_owned()];
        command.extend(self.local.words());
        hosts.extend(self.hosts.iter().map(|destination| {
            HostAccess::Ssh(SshHost { destination: destination.clone(), command: command.clone() })
        }));
        Ok(hosts)
    }
}
