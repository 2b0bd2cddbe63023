//! Carries a plan out: observe, plan, do what is safe now, and observe again, until the goal is reached.
//!
//! It decides nothing. What is safe comes from [`plan()`], and each step is put to [`refusal()`] once more before it is done. Nothing is
//! waited for by time: a wait is another observation, and one that never brings anything new ends with what is missing. A run may be
//! cut anywhere; what cannot be seen again is in its [`Record`], written before each step.

mod canary;
mod driver_lease;
mod host_access;
mod kubeadm;
mod loaded;
mod observe;
mod part;
mod peer;
mod perform;
mod record;
mod wants;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use keystead_etcd::Etcd;
use keystead_model::ErrorClass;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{ApiServer, CallError, Kubeconfig, is_at};
use crate::host::Task;
use crate::kms_socket::Wrapped;
use crate::reencrypt::Progress;
use crate::rollout::{
    Canary, Inventory, Next, Observed, Obstacle, Plan, PlannedStep, Provider, Step, plan, refusal,
};

pub use canary::CanaryError;
pub use driver_lease::{DriverLease, LeaseError, Turn, Waits, shared_record, take_turn};
pub use host_access::{AccessError, HostAccess, HostReply, SshHost};
pub(crate) use kubeadm::patch as kubeadm_patch;
pub use kubeadm::{KubeadmConfigError, KubeadmPatch, kubeadm_knows};
pub use part::{Part, PartError};
pub use peer::{PeerHost, refuse_name};
pub use perform::StepError;
pub use record::{
    NewVersion, PassRecord, Record, RecordError, RecordFile, ServerRecord, read as read_record,
};
pub use wants::{WantedGoal, Wants};

/// A rollout that is carried out.
pub struct Executor<'e> {
    hosts: Vec<HostAccess>,
    kubeconfig: Kubeconfig,
    /// Rewrites through it; the kubeconfig's own address.
    server: ApiServer,
    record: Record,
    file: Option<RecordFile>,
    /// Keeps drivers on other hosts away; none where there is one host.
    lease: Option<DriverLease>,
    /// The record, as it was last written.
    kept: Option<Record>,
    /// Where an interrupted re-encryption is.
    journals: Option<PathBuf>,
    patience: Duration,
    stop: CancellationToken,
    events: &'e mut (dyn FnMut(Event<'_>) + Send),
    etcd: Option<Etcd>,
    /// Which hosts had the flag when kubeadm's configuration was last compared with them.
    kubeadm_seen: Option<Vec<bool>>,
    /// Why it is not as the hosts are.
    kubeadm_trouble: Option<String>,
    /// Why the last step was not done, where another attempt may help.
    away: Option<String>,
    /// By host: doubts that were told.
    doubted: BTreeSet<(String, String)>,
    /// Of this run.
    canaries: Vec<Canary>,
    /// Of this run, by resource: what was counted, and a wrapped seed of each key id.
    counted: BTreeMap<String, (Inventory, Vec<(Provider, Wrapped)>)>,
    /// Resources that were counted since [`Record::written_since`] last grew.
    counted_since: BTreeSet<String>,
}

/// Something to tell a person.
#[derive(Debug)]
pub enum Event<'a> {
    /// The plan is another one than before.
    Plan(&'a Plan),
    /// A step is begun.
    Step(&'a PlannedStep),
    /// A host says why something is not known of it.
    Remark {
        /// The host.
        host: &'a str,
        /// Its words.
        text: &'a str,
    },
    /// kubeadm's configuration was changed.
    Kubeadm(&'a KubeadmPatch),
    /// How far the re-encryption is.
    Reencrypt(&'a Progress),
    /// What was re-encrypted, in words.
    Rewritten(&'a str),
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// The goal is reached, with what a person may do now.
    Reached(Vec<String>),
    /// Nothing is safe until somebody acts.
    Blocked(Vec<Obstacle>),
    /// It was told to stop.
    Stopped,
}

/// What was seen before anything is done.
pub struct Preview {
    /// What would be done.
    pub plan: Plan,
    /// What that depends on.
    pub observed: Observed,
    /// By host: what its API server says of itself, where it answers.
    pub in_use: BTreeMap<String, InUse>,
    /// API servers of the cluster that are on no host that was named: they may write in any way.
    pub unnamed: Vec<String>,
    /// Resources that the files encrypt and that are not those of the rollout: without the flag they would be unreadable.
    pub beside: BTreeSet<String>,
}

/// What an API server says of itself, and the file that it would start with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Its version, such as `v1.37.2`.
    pub version: Option<String>,
    /// SHA-256 of the EncryptionConfiguration that it uses, in hexadecimal digits; from 1.34 on, and none where there is none.
    pub configuration: Option<String>,
    /// The same of the file on its host.
    pub file: Option<String>,
}

/// Why a run ended early. What runs goes on as it is, and the same goal can be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The record is not kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A step.
    #[error("cannot {step}")]
    Step {
        /// Which.
        step: String,
        /// Why not.
        source: Box<StepError>,
    },
    /// The rule itself refuses what was planned.
    #[error("what was planned is not safe, and nothing was done: {step}, because {reason}")]
    Refused {
        /// The step.
        step: String,
        /// Why not.
        reason: String,
    },
    /// What is waited for does not come.
    #[error("nothing has changed for {} s while waiting for: {waiting}", after.as_secs())]
    NothingComes {
        /// What for.
        waiting: String,
        /// How long.
        after: Duration,
    },
}

impl ExecuteError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Record(error) => error.class(),
            Self::Step { source, .. } => source.class(),
            Self::Refused { .. } | Self::NothingComes { .. } => ErrorClass::FailedPrecondition,
        }
    }
}

/// What a run is given.
pub struct Settings {
    /// The control-plane hosts, all of them.
    pub hosts: Vec<HostAccess>,
    /// How the API servers are reached.
    pub kubeconfig: Kubeconfig,
    /// Keeps drivers on other hosts away, and shares the record with them. With one host the lock of the record's file is enough.
    pub lease: Option<DriverLease>,
    /// A directory for journals of re-encryptions; none: an interrupted one starts over.
    pub journals: Option<PathBuf>,
    /// How long something is waited for while nothing changes.
    pub patience: Duration,
    /// Ends the run after the step that is under way.
    pub stop: CancellationToken,
}

impl<'e> Executor<'e> {
    /// With a record, and the file that keeps it. Without a file nothing is done: such an executor only looks.
    pub fn new(
        settings: Settings,
        server: ApiServer,
        record: Record,
        file: Option<RecordFile>,
        events: &'e mut (dyn FnMut(Event<'_>) + Send),
    ) -> Self {
        Self {
            hosts: settings.hosts,
            kubeconfig: settings.kubeconfig,
            server,
            record,
            file,
            lease: settings.lease,
            kept: None,
            journals: settings.journals,
            patience: settings.patience,
            stop: settings.stop,
            events,
            etcd: None,
            kubeadm_seen: None,
            kubeadm_trouble: None,
            away: None,
            doubted: BTreeSet::new(),
            canaries: Vec::new(),
            counted: BTreeMap::new(),
            counted_since: BTreeSet::new(),
        }
    }

    /// Looks, and says what would be done. Nothing is changed, and nothing is written for it: the plan goes as far as the first thing that
    /// only a canary or a count tells.
    ///
    /// # Errors
    ///
    /// The API server does not say which API servers there are.
    pub async fn preview(&mut self) -> Result<Preview, CallError> {
        let mut sight = self.observe().await;
        // Resources of one entry change together.
        let named = sight.reports().flat_map(|it| &it.resources);
        let all: BTreeSet<String> = named.chain(&self.record.resources).cloned().collect();
        if all.len() > self.record.resources.len() {
            self.record.resources = all.into_iter().collect();
            sight = self.observe().await;
        }
        self.remarks(&sight);
        Ok(Preview {
            plan: plan(&self.record.goal, &sight.observed),
            unnamed: self.unnamed_servers(&sight).await?,
            beside: sight.reports().flat_map(|it| it.others.iter().cloned()).collect(),
            in_use: sight.hosts.iter().map(|it| (it.name.clone(), it.in_use())).collect(),
            observed: sight.observed,
        })
    }

    /// The record, as it is now.
    pub fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Counts what is stored, which changes nothing.
    ///
    /// # Errors
    ///
    /// etcd cannot be reached or read.
    pub async fn count(&mut self) -> Result<(), Box<StepError>> {
        let sight = self.observe().await;
        let observed = sight.observed.clone();
        for resource in self.record.resources.clone() {
            let step = Step::TakeInventory { resource };
            self.perform(&step, &observed, &sight).await?;
        }
        Ok(())
    }

    /// Goes on until the goal is reached, nothing is safe, or something fails.
    ///
    /// # Errors
    ///
    /// A step failed, or what is waited for does not come.
    pub async fn run(&mut self) -> Result<Ended, ExecuteError> {
        let mut last: Option<Plan> = None;
        let mut since = Instant::now();
        loop {
            if self.stop.is_cancelled() {
                // One that was overtaken is stopped too.
                self.keep().await?;
                return Ok(Ended::Stopped);
            }
            let sight = self.observe().await;
            match self.keep().await {
                Ok(()) => {}
                // Nothing is done before it is certain that nobody else does it.
                Err(error) if error.is_away() && since.elapsed() < self.patience => {
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            self.kubeadm_in_step(&sight).await;
            let now = plan(&self.record.goal, &sight.observed);
            if last.as_ref().is_none_or(|it| steps_of(it) != steps_of(&now)) {
                self.remarks(&sight);
                (self.events)(Event::Plan(&now));
                since = Instant::now();
            }
            let steps = match &now.next {
                Next::Done(remarks) => {
                    self.record.reached = true;
                    self.record.new_version = None;
                    self.record.seen_before.clear();
                    self.keep().await?;
                    if let Some(text) = &self.kubeadm_trouble {
                        (self.events)(Event::Remark { host: "kubeadm", text });
                    }
                    return Ok(Ended::Reached(remarks.clone()));
                }
                Next::Blocked(obstacles) => return Ok(Ended::Blocked(obstacles.clone())),
                Next::Steps(steps) => steps.clone(),
            };
            let waits = steps.iter().all(|it| is_wait(&it.step, &sight));
            // The same again, although it was done: something undoes it, and it must not be done without end.
            let again = last.as_ref().is_some_and(|it| steps_of(it) == steps_of(&now))
                && !steps.iter().any(|it| matches!(it.step, Step::Reencrypt { .. }));
            if waits || again {
                let after = since.elapsed();
                if after > self.patience {
                    let waiting = steps.iter().map(|it| it.step.to_string()).chain(self.away.take());
                    let waiting = waiting.collect::<Vec<_>>().join("; ");
                    return Err(ExecuteError::NothingComes { waiting, after });
                }
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = tokio::time::sleep(BETWEEN_LOOKS) => {}
                }
            }
            if !waits {
                self.take(&steps, &sight).await?;
            }
            last = Some(now);
        }
    }

    async fn take(&mut self, steps: &[PlannedStep], sight: &observe::Sight) -> Result<(), ExecuteError> {
        for planned in steps {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            if is_wait(&planned.step, sight) {
                continue;
            }
            let step = || planned.step.to_string();
            if let Some(reason) = refusal(&planned.step, &sight.observed) {
                return Err(ExecuteError::Refused { step: step(), reason });
            }
            match self.keep().await {
                Ok(()) => {}
                Err(error) if error.is_away() => {
                    self.away = Some(keystead_model::ErrorChain(&error).to_string());
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            (self.events)(Event::Step(planned));
            match self.perform(&planned.step, &sight.observed, sight).await {
                Ok(()) => self.away = None,
                // Somebody else was there. What is there now decides.
                Err(error) if error.is_stale() => return Ok(()),
                // It may be starting. Another look says so, and a re-encryption has waited by itself.
                Err(error) if error.is_away() && !matches!(planned.step, Step::Reencrypt { .. }) => {
                    self.away = Some(keystead_model::ErrorChain(&*error).to_string());
                    return Ok(());
                }
                Err(source) => return Err(ExecuteError::Step { step: step(), source }),
            }
            if matches!(planned.step, Step::Reencrypt { .. }) {
                // It may have taken hours: what comes next is decided by another look.
                return Ok(());
            }
        }
        Ok(())
    }

    /// API servers on none of the hosts that were named: those that publish themselves, those that the record knows, and the control-plane
    /// nodes. What was said to be gone is left out, unless it publishes itself.
    async fn unnamed_servers(&self, sight: &observe::Sight) -> Result<Vec<String>, CallError> {
        let is_named = |name: &String| self.hosts.iter().any(|it| it.name() == name);
        let is_gone = |name: &String| self.record.removed.contains(name);
        let named = sight.reports().map(|it| &it.address);
        // One that does not answer now is known by what was seen of it before.
        let recorded =
            self.record.servers.iter().filter(|(name, _)| is_named(name)).map(|(_, it)| &it.address);
        let known: BTreeSet<&String> = named.chain(recorded).collect();
        // One that publishes itself runs, whatever was said of it.
        let published = self.server.published().await?;
        let mut unnamed: Vec<String> = published.into_iter().filter(|it| !known.contains(it)).collect();
        unnamed.extend(self.record.servers.keys().filter(|it| !is_named(it) && !is_gone(it)).cloned());
        for node in self.server.control_plane_nodes().await? {
            let is_known = is_named(&node.name)
                || is_gone(&node.name)
                || node.addresses.iter().any(|it| known.iter().any(|url| is_at(url, it)));
            if !is_known && !unnamed.contains(&node.name) {
                unnamed.push(node.name);
            }
        }
        Ok(unnamed)
    }

    /// What cannot be kept in step is told: the rollout itself does not depend on it.
    async fn kubeadm_in_step(&mut self, sight: &observe::Sight) {
        let flags: Vec<bool> =
            sight.hosts.iter().filter_map(|it| Some(it.report.as_ref().ok()?.has_flag)).collect();
        if self.kubeadm_seen.as_ref() == Some(&flags) {
            return;
        }
        let kept = self.keep_kubeadm_in_step(sight).await;
        // An API server that starts is asked again at the next look, and whether it ever answered is told at the end.
        self.kubeadm_trouble = match kept {
            Ok(patch) => {
                self.kubeadm_seen = Some(flags);
                patch.iter().for_each(|it| (self.events)(Event::Kubeadm(it)));
                None
            }
            Err(error) => {
                let text = keystead_model::ErrorChain(&error).to_string();
                if !error.is_away() {
                    self.kubeadm_seen = Some(flags);
                }
                Some(text)
            }
        };
    }

    fn remarks(&mut self, sight: &observe::Sight) {
        self.doubts(sight);
        for host in &sight.hosts {
            let text = match &host.report {
                Err(unseen) => &unseen.reason,
                Ok(report) => match &report.on_disk {
                    Err(reason) => reason,
                    Ok(_) => continue,
                },
            };
            (self.events)(Event::Remark { host: &host.name, text });
        }
    }

    /// Each is told once.
    fn doubts(&mut self, sight: &observe::Sight) {
        for host in &sight.hosts {
            for text in host.report.iter().flat_map(|it| &it.remarks) {
                if self.doubted.insert((host.name.clone(), text.clone())) {
                    (self.events)(Event::Remark { host: &host.name, text });
                }
            }
            for plugin in host.report.iter().flat_map(|it| &it.plugins) {
                for doubt in &plugin.way.doubts {
                    let provider = &plugin.provider;
                    let text = format!(
                        "the KMS of {provider} may be inside of the cluster that it protects: {doubt}"
                    );
                    if self.doubted.insert((host.name.clone(), text.clone())) {
                        (self.events)(Event::Remark { host: &host.name, text: &text });
                    }
                }
            }
        }
    }

    /// Writes the record down where it changed: into its file, and for the other hosts. Then nobody else drives.
    ///
    /// # Errors
    ///
    /// The file is not written, or another driver may have taken over.
    pub async fn keep(&mut self) -> Result<(), RecordError> {
        if self.kept.as_ref() != Some(&self.record) {
            self.record.tenure = self.lease.as_ref().map_or(self.record.tenure, DriverLease::tenure);
            self.record.serial = self.record.serial.saturating_add(1);
            self.file.as_ref().map_or(Ok(()), |file| file.save(&self.record))?;
            self.kept = Some(self.record.clone());
        }
        match &self.lease {
            Some(lease) => Ok(lease.keep(&self.record).await?),
            None => Ok(()),
        }
    }

    /// The task of whoever holds the Lease, where there is one.
    fn under(&self, task: Task) -> Task {
        match &self.lease {
            Some(lease) => Task::Under { tenure: lease.tenure(), asked: Box::new(task) },
            None => task,
        }
    }
}

/// Whether looking again is all there is to do. A key becomes the one that encrypts where it is kept, and a kubelet that has a new manifest
/// restarts the API server by itself.
fn is_wait(step: &Step, sight: &observe::Sight) -> bool {
    match step {
        Step::Wait { .. } | Step::PromoteKey { .. } => true,
        Step::Restart { server } => sight.host(server).is_some_and(observe::HostSight::is_restarting),
        _ => false,
    }
}

/// What is said of a plan once. Its reasons may differ from look to look.
fn steps_of(plan: &Plan) -> Vec<&Step> {
    match &plan.next {
        Next::Steps(steps) => steps.iter().map(|it| &it.step).collect(),
        Next::Blocked(_) | Next::Done(_) => Vec::new(),
    }
}

/// A look takes some calls to each API server and plugin; a kubelet needs some seconds to restart one.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
