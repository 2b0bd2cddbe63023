//! `keystead cluster enable|migrate|rotate|disable|undo|continue`

mod driver;
mod for_agent;
mod looks;
mod new_key;
mod new_version;
mod over_cluster;
mod parts;
mod record;
mod refusals;
mod stop;
mod told;
mod wish;

use std::time::Duration;

use keystead_cluster::api::{ApiServer, Kubeconfig};
use keystead_cluster::encryption_configuration::Endpoint;
use keystead_cluster::executor::{
    DriverLease, Event, Executor, HostAccess, LeaseError, Record, RecordFile, Settings, read_record,
    shared_record,
};
use keystead_cluster::provider_order::KmsPlugin;
use keystead_cluster::rollout::{Goal, Next, Provider};
use keystead_runtime::{Failure, Span};
use tokio_util::sync::CancellationToken;

use super::platform::refuse_others;
use super::reencrypt::{exit, not_connected};
use super::rollout_args::FleetArgs;
use crate::output::say;
pub(super) use driver::newer;
use driver::{not_driving, servers, take_lease};
pub(crate) use for_agent::{AgentGoal, EncryptedValues, HostRollout};
use looks::{look, reached};
use new_key::{NewKey, await_new_key};
use new_version::{KeyPlace, Making, NewVersionArgs, make_new_version};
use parts::RunningPart;
use record::{complete, record};
use refusals::{all_are_named, nothing_beside, refuse_wildcards};
use stop::{ended_at_once, is_stop, signals};
use told::{finished, say_kubeadm, show, tell};
use wish::refuse_half_made;

/// Switch the encryption of Secrets on, with a KMS plugin that runs on every control-plane host
///
/// Every API server reads before any writes, one writes before all do, everything stored is written anew and counted in etcd, and only
/// then plain values stop being readable. Nothing is refused meanwhile. It prints its plan and does nothing without --yes; it may be
/// cut anywhere and gone on with: `keystead cluster continue`.
///
/// Exit codes: 0 done, 1 failed or not safe, 2 usage, kubeconfig or record, 3 stopped on the way, 4 an API server, a host or etcd cannot be
/// reached, 5 denied.
#[derive(Debug, clap::Args)]
pub(crate) struct EnableArgs {
    #[command(flatten)]
    plugin: PluginArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Leave plain values readable at the end. Whoever can write to etcd can then plant them
    #[arg(long)]
    keep_identity: bool,
}

/// Move everything that is stored to another provider or key: from one KMS to another, from KMS v1 to v2, from a key in the file to a KMS
///
/// Safe in the same way as `enable`. Exit codes are those of `enable`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    /// What everything is to be stored with: kms:v2:NAME, kms:v1:NAME, aescbc:KEY, aesgcm:KEY or secretbox:KEY
    #[arg(long, value_name = "PROVIDER")]
    to: Provider,
    /// The socket of a KMS entry that the file does not have yet, such as unix:///tmp/keystead/kms.sock
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,
    /// How long kube-apiserver waits for that plugin, such as 3s
    #[arg(long, value_name = "TIME", requires = "endpoint")]
    timeout: Option<String>,
    #[command(flatten)]
    run: RunArgs,
    /// As for `enable`
    #[arg(long)]
    keep_identity: bool,
}

/// Bring everything that is stored under a new key version: one that is made now, or the one that the plugins encrypt with already
///
/// With --new-version it makes the version: --key names a key of keystead-server or of Google's Cloud KMS, with the options of `keystead kms`
/// and the rights of whoever runs this; --key-file names the plugin's key file where there is one control-plane host. Without, make it the one
/// that encrypts where the key is kept, such as in your own KMS. Then this command waits until every plugin and every API server has it, proves
/// that each opens what any other wraps, writes everything anew and counts it in etcd. Exit codes are those of `enable`.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateArgs {
    /// The new key id [default: the one that the plugins report]
    #[arg(long, value_name = "KEY_ID")]
    to: Option<String>,
    #[command(flatten)]
    new_version: NewVersionArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Switch encryption off: store everything plainly again, and take the flag away
///
/// The plugins stay, because backups and older revisions in etcd still need them. Exit codes are those of `enable`.
#[derive(Debug, clap::Args)]
pub(crate) struct DisableArgs {
    #[command(flatten)]
    run: RunArgs,
}

/// Go back to what the API servers used before the rollout, without writing anything anew
///
/// Only where all that is stored stays readable; otherwise it names the command that gets there. With `--over cluster` it goes by the record
/// that each host has of its own. Exit codes are those of `enable`.
#[derive(Debug, clap::Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    run: RunArgs,
}

/// Go on with a rollout that was cut or blocked
///
/// An API server that was being restarted then is waited for, as long as --patience says. With `--over cluster` it goes by the record that
/// each host has of its own; where there is none, run the original command again on each host.
///
/// Exit codes are those of `enable`.
#[derive(Debug, clap::Args)]
pub(crate) struct ContinueArgs {
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct PluginArgs {
    /// The name of the KMS entry. It is part of each stored value and can never be changed
    #[arg(long, value_name = "NAME", default_value = "keystead")]
    name: String,
    /// The plugin's socket, the same on every host
    #[arg(long, value_name = "URL", default_value = "unix:///tmp/keystead/kms.sock")]
    endpoint: Endpoint,
    /// The version of the KMS API: v1 is for Kubernetes below 1.27
    #[arg(long, value_name = "VERSION", default_value = "v2", value_parser = ["v1", "v2"])]
    kms_version: String,
    /// How long kube-apiserver waits for the plugin, such as 3s [default: kube-apiserver's own, 3s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
struct RunArgs {
    /// A resource to encrypt, as an EncryptionConfiguration names it: secrets, configmaps, certificates.cert-manager.io. Again for more [default: those
    /// of the rollout before, or secrets]
    #[arg(long = "resource", value_name = "NAME")]
    resources: Vec<String>,
    /// Print the plan and stop
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// How long to wait for something while nothing changes
    #[arg(long, value_name = "TIME", default_value = "10m")]
    patience: Span,
    #[command(flatten)]
    fleet: FleetArgs,
    /// A rotation to what the plugins report has nothing to do, and that is well, where there is no new key.
    #[arg(skip)]
    may_be_settled: bool,
}

/// Where a command goes. What an undo or a rotation goes to is only known after a look.
enum Aim {
    Goal(Goal, Vec<KmsPlugin>),
    /// To this key id; to a version that is made first; or to what the plugins report.
    Rotate(Option<String>, Option<KeyPlace>),
    Undo,
    Continue,
}

impl EnableArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let PluginArgs { name, endpoint, kms_version, timeout } = self.plugin;
        let to = match kms_version.as_str() {
            "v1" => Provider::KmsV1 { name },
            _ => Provider::KmsV2 { name },
        };
        let plugin = KmsPlugin { provider: to.clone(), endpoint: endpoint.to_string(), timeout };
        let goal = Goal::Enable { to, keep_identity: self.keep_identity };
        self.run.carry_out(Aim::Goal(goal, vec![plugin]))
    }
}

impl MigrateArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let plugin = self.endpoint.map(|endpoint| KmsPlugin {
            provider: self.to.clone(),
            endpoint: endpoint.to_string(),
            timeout: self.timeout.clone(),
        });
        let goal = Goal::Migrate { to: self.to, keep_identity: self.keep_identity };
        self.run.carry_out(Aim::Goal(goal, plugin.into_iter().collect()))
    }
}

impl RotateArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let place = self.new_version.place()?;
        self.run.carry_out(Aim::Rotate(self.to, place))
    }
}

impl DisableArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.run.carry_out(Aim::Goal(Goal::Disable, Vec::new()))
    }
}

impl UndoArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.run.carry_out(Aim::Undo)
    }
}

impl ContinueArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.run.carry_out(Aim::Continue)
    }
}

/// What is needed to find other hosts and drivers.
struct Several<'s> {
    kubeconfig: &'s Kubeconfig,
    server: &'s ApiServer,
    stop: &'s CancellationToken,
}

/// How the hosts are reached, and what is to be done there.
struct Way {
    hosts: Vec<HostAccess>,
    /// What the last driver knew.
    shared: Option<Record>,
    aim: Aim,
    /// None were named: those of the record, or Secrets.
    resources: Vec<String>,
}

/// What is held until the command ends, however it ends.
#[derive(Default)]
struct Held {
    part: Option<RunningPart>,
    lease: Option<DriverLease>,
}

impl Held {
    /// Gives all of it back, so that nobody waits for it to run out.
    async fn end(self, ended: Result<(), Failure>) -> Result<(), Failure> {
        let lost = match &self.lease {
            Some(lease) => lease.lost_to().await,
            None => None,
        };
        if let Some(lease) = &self.lease {
            lease.release().await;
        }
        let failed = match self.part {
            Some(part) => part.end().await,
            None => None,
        };
        match ended {
            // Why it was told to stop says more.
            Err(failure) if is_stop(&failure) => {
                let lost = lost.map(|other| not_driving(&LeaseError::Lost(other)));
                Err(failed.or(lost).unwrap_or(failure))
            }
            ended => ended,
        }
    }
}

impl Aim {
    /// How long whoever does not answer at the start is waited for: an API server that was being restarted when a rollout was cut.
    fn patience(&self, run: &RunArgs) -> Duration {
        match self {
            Self::Continue => run.patience.get(),
            _ => Duration::ZERO,
        }
    }
}

impl RunArgs {
    fn carry_out(self, aim: Aim) -> Result<(), Failure> {
        let runtime = crate::runtime()?;
        let ended = runtime.block_on(self.rollout(aim));
        // Whoever asked twice waits for nothing.
        runtime.shutdown_background();
        ended
    }

    async fn rollout(self, aim: Aim) -> Result<(), Failure> {
        let stop = CancellationToken::new();
        let signals = signals(stop.clone())?;
        let mut nobody_else = |_| {};
        tokio::select! {
            ended = self.until(aim, &stop, &mut nobody_else) => ended,
            () = signals => Err(ended_at_once()),
        }
    }

    /// Until the goal is reached, or `stop` is cancelled. `now` is told each step as it begins, besides the person.
    async fn until(
        self,
        aim: Aim,
        stop: &CancellationToken,
        now: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), Failure> {
        let mut held = Held::default();
        let ended = self.carried_out(aim, stop, &mut held, now).await;
        held.end(ended).await
    }

    async fn carried_out(
        self,
        aim: Aim,
        stop: &CancellationToken,
        held: &mut Held,
        now: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), Failure> {
        self.fleet.refuse_names()?;
        let kubeconfig = self.fleet.kubeconfig();
        let patience = aim.patience(&self);
        let connect = async || ApiServer::connect(&kubeconfig).await.map_err(|error| not_connected(&error));
        let server = reached(patience, stop, connect).await?;
        refuse_others(&server).await?;
        let state = self.fleet.state()?;
        let path = state.join(format!("rollout-{}.json", server.cluster()));
        // A plan alone leaves nothing behind, and takes no lock from whoever carries one out.
        let (file, known) = match self.yes {
            true => {
                make_directory(&state)?;
                let (file, known) = RecordFile::open(&path, server.cluster())
                    .map_err(|error| Failure::from_error(&error).exit(exit(error.class())))?;
                (Some(file), known)
            }
            false => (
                None,
                read_record(&path).map_err(|error| Failure::from_error(&error).exit(exit(error.class())))?,
            ),
        };
        let several = Several { kubeconfig: &kubeconfig, server: &server, stop };
        let continues = matches!(aim, Aim::Continue);
        let way = match self.fleet.is_over_cluster() {
            true => self.over_cluster(&several, file.as_ref(), known.as_ref(), aim, held).await?,
            false => Some(self.over_ssh(&several, file.as_ref(), aim, held).await?),
        };
        let Some(Way { hosts, shared, aim, resources }) = way else { return Ok(()) };
        let known = newer(known, shared.filter(|it| it.cluster == server.cluster()));
        if let Some(known) = known.as_ref().filter(|it| continues && !it.reached) {
            refuse_half_made(known)?;
        }
        let begins = known.as_ref().is_none_or(|it| it.reached);
        let mut record = record(&aim, resources, known, server.cluster())?;
        self.fleet.remove(&mut record, &hosts, &server).await?;
        let settings = Settings {
            hosts,
            kubeconfig: kubeconfig.clone(),
            lease: held.lease.clone(),
            journals: file.is_some().then_some(state),
            patience: self.patience.get(),
            stop: stop.clone(),
        };
        let mut bar = None;
        let mut events = |event: Event<'_>| {
            if let Event::Step(planned) = &event {
                now(planned.step.to_string());
            }
            show(event, &mut bar);
        };
        let mut executor = Executor::new(settings, server, record, file, &mut events);
        self.drive(&mut executor, aim, begins, patience, stop).await
    }

    /// This host, and those that ssh reaches; with several of them the Lease that keeps other drivers away.
    async fn over_ssh(
        &self,
        several: &Several<'_>,
        file: Option<&RecordFile>,
        aim: Aim,
        held: &mut Held,
    ) -> Result<Way, Failure> {
        let (hosts, patience) = (self.fleet.hosts()?, aim.patience(self));
        let resources = self.resources.clone();
        // With one host the lock of the record's file is enough. What drivers elsewhere knew counts all the same.
        let Some(file) = file.filter(|_| hosts.len() > 1) else {
            let server = std::slice::from_ref(several.server);
            let read = async || shared_record(server).await.map_err(|error| not_driving(&error));
            let shared = reached(patience, several.stop, read).await?;
            return Ok(Way { hosts, shared, aim, resources });
        };
        let find = async || servers(several.kubeconfig, several.server).await;
        let servers = reached(patience, several.stop, find).await?;
        let holder = file.holder(&self.fleet.here()?.name);
        let holder = holder.map_err(|error| Failure::from_error(&error).exit(exit(error.class())))?;
        let (lease, shared) = take_lease(&servers, &holder, several.stop).await?;
        held.lease = Some(lease);
        Ok(Way { hosts, shared, aim, resources })
    }

    async fn drive(
        &self,
        executor: &mut Executor<'_>,
        mut aim: Aim,
        begins: bool,
        patience: Duration,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let mut seen = reached(patience, stop, async || look(executor).await).await?;
        all_are_named(&seen)?;
        refuse_wildcards(&executor.record().resources)?;
        match &aim {
            Aim::Rotate(None, None) => match await_new_key(executor, stop).await? {
                NewKey::There(now) => seen = *now,
                NewKey::None(_) if self.may_be_settled => return Ok(()),
                NewKey::None(failure) => return Err(failure),
            },
            Aim::Rotate(_, Some(place)) => {
                let making = Making { begins, yes: self.yes, patience: self.patience.get(), stop };
                let made = make_new_version(executor, place, &seen, making).await?;
                let Some((now, key_id)) = made else { return self.nothing_done() };
                seen = now;
                aim = Aim::Rotate(Some(key_id), None);
            }
            _ => {}
        }
        complete(executor.record(), &aim, begins, &seen.observed)?;
        if !executor.record().goal.sets_flag() {
            nothing_beside(&seen.beside)?;
        }
        let plan = reached(patience, stop, async || look(executor).await).await?.plan;
        tell(&plan.to_string());
        if self.dry_run {
            match executor.kubeadm_patch().await {
                Ok(None) => {}
                Ok(Some(patch)) => say_kubeadm("would be changed", &patch),
                Err(error) => say(&format!("kubeadm: {}", keystead_model::ErrorChain(&error))),
            }
            return Ok(());
        }
        if let Next::Done(_) = plan.next {
            return Ok(());
        }
        if !self.yes {
            return self.nothing_done();
        }
        finished(executor.run().await)
    }

    fn nothing_done(&self) -> Result<(), Failure> {
        if self.dry_run {
            return Ok(());
        }
        Err(Failure::new("nothing was done yet").hint("run it again with --yes".to_owned()))
    }
}

fn make_directory(path: &std::path::Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| {
        Failure::new(format!("cannot make {}: {error}", path.display()))
            .hint("run it as root, or name another directory with --state".to_owned())
    })
}
