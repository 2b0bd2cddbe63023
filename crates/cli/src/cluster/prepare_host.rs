//! `keystead cluster prepare-host`

use keystead_cluster::api::ApiServer;
use keystead_cluster::executor::{AccessError, HostAccess, kubeadm_knows};
use keystead_cluster::host::{
    Answer, FileText, LocalHost, PluginState, Preparation, Prepared, PreparedFile, Task,
};
use keystead_model::Exit;
use keystead_runtime::Failure;

use super::reencrypt::not_connected;
use super::rollout_args::FleetArgs;
use crate::output::{say, visible};

/// Get other hosts ready to join the control plane, so that `kubeadm join` makes API servers that encrypt as this host's does
///
/// Run it on a control-plane host, and name the new ones. kubeadm writes their manifests with the flag that this cluster has, and does not
/// bring the file that the flag names: this command puts it there, byte for byte, with mode 0600. It also has the plugins there unwrap what
/// those here wrap, where they run already: under systemd they do, and a static pod starts with the kubelet, in `kubeadm join`. It prints
/// what it would do, and does nothing without --yes.
///
/// Exit codes: 0 ready, 1 failed or refused, 2 usage or kubeconfig, 4 a host or the API server cannot be reached, 5 denied.
#[derive(Debug, clap::Args)]
pub(crate) struct PrepareHostArgs {
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

impl PrepareHostArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        crate::runtime()?.block_on(self.prepare())
    }

    async fn prepare(self) -> Result<(), Failure> {
        self.fleet.refuse_over_cluster()?;
        let hosts = self.fleet.hosts()?;
        let Some((HostAccess::Local(here), others)) = hosts.split_first() else {
            return Err(Failure::new("this host is none").exit(Exit::Bug));
        };
        if others.is_empty() {
            return Err(Failure::new("which hosts? None was named")
                .usage()
                .hint("name each with --over ssh --host HOST".to_owned()));
        }
        let needed = here.preparation().await.map_err(|error| Failure::from_error(&error))?;
        let (needed, text) = needed.ok_or_else(|| {
            Failure::new(
                "kube-apiserver here has no --encryption-provider-config: a host that joins needs nothing",
            )
            .hint("run it on a control-plane host of a cluster that encrypts".to_owned())
        })?;
        self.refuse_forgetful_kubeadm(here).await?;
        let (mut problems, mut missing) = (Vec::new(), Vec::new());
        for host in others {
            let prepared = ask(host, &needed, None).await?;
            problems.extend(obstacle(host.name(), &prepared, &needed));
            if prepared.file == PreparedFile::Missing {
                say(&visible(&format!("plan: write {} on {}", needed.path.display(), host.name())));
                missing.push(host);
            }
            for (provider, state) in prepared.plugins {
                let state = match state {
                    PluginState::Unwraps => "unwraps what is wrapped here".to_owned(),
                    PluginState::Away(reason) => format!("does not answer yet: {reason}"),
                    PluginState::Refuses(reason) => reason,
                };
                say(&visible(&format!("{}: the plugin of {provider}: {state}", host.name())));
            }
        }
        if !problems.is_empty() {
            let failure = Failure::new("not every host can be prepared");
            return Err(problems.into_iter().fold(failure, |failure, it| failure.caused_by(visible(&it))));
        }
        if !self.yes && !missing.is_empty() {
            return Err(Failure::new("nothing was done yet").hint("run it again with --yes".to_owned()));
        }
        for (done, host) in missing.iter().enumerate() {
            let written = ask(host, &needed, Some(&text)).await.and_then(|it| match it.file {
                PreparedFile::Same => Ok(()),
                _ => Err(Failure::new(format!(
                    "{} says that it was written, and has another file",
                    host.name()
                ))),
            });
            if let Err(failure) = written {
                let names =
                    |hosts: &[&HostAccess]| hosts.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
                let (before, after) = missing.split_at(done);
                let hint = format!("prepared: {}; not: {}", names(before), names(after));
                return Err(failure.hint(visible(&hint)));
            }
        }
        say(
            "the file is there: install the plugin if it is not, then run `kubeadm join ... --control-plane`, or start kube-apiserver's unit with the flags of this host, and name the host from then on",
        );
        Ok(())
    }

    /// What kubeadm does not know of, it does not write.
    async fn refuse_forgetful_kubeadm(&self, here: &LocalHost) -> Result<(), Failure> {
        let server =
            ApiServer::connect(&self.fleet.kubeconfig()).await.map_err(|error| not_connected(&error))?;
        match kubeadm_knows(&server, here).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::new(
                "kubeadm's ClusterConfiguration does not have the flag and mounts of this host: `kubeadm join` would make an API server that cannot read what is encrypted",
            )
            .hint("`keystead cluster status` and the command of the last rollout, such as `keystead cluster enable --yes`, put it there".to_owned())),
            Err(error) => Err(Failure::from_error(&error)),
        }
    }
}

async fn ask(host: &HostAccess, needed: &Preparation, text: Option<&FileText>) -> Result<Prepared, Failure> {
    let task = Task::Prepare { preparation: needed.clone(), text: text.cloned() };
    match host.perform(&task).await {
        Ok(Answer::Prepared(prepared)) => Ok(prepared),
        Ok(_) => Err(Failure::new(format!("{} answers something else than what was asked", host.name()))),
        Err(error) => {
            let is_away = matches!(error, AccessError::NoAnswer { .. });
            Err(Failure::from_error(&error).exit(if is_away { Exit::Unreachable } else { Exit::Failed }))
        }
    }
}

/// Why a host must not get the file.
fn obstacle(host: &str, prepared: &Prepared, needed: &Preparation) -> Option<String> {
    let path = needed.path.display();
    match prepared.file {
        PreparedFile::Other => {
            return Some(format!("{host} has another {path}: take it away, if nothing needs it"));
        }
        PreparedFile::Missing if prepared.has_joined => {
            return Some(format!(
                "{host} has joined already, without {path}: `keystead cluster status` says what is needed"
            ));
        }
        PreparedFile::Missing | PreparedFile::Same => {}
    }
    let mut plugins = prepared.plugins.iter();
    let other_key = plugins.find_map(|(provider, state)| match state {
        PluginState::Refuses(reason) => Some((provider, reason)),
        PluginState::Unwraps | PluginState::Away(_) => None,
    });
    other_key.map(|(provider, reason)| {
        format!("the plugin of {provider} on {host} does not unwrap what is wrapped here: {reason}")
    })
}
