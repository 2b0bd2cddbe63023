//! One step of a plan.

use keystead_etcd::{ConnectError as EtcdConnectError, Etcd, Layout, ReadError};

use keystead_model::ErrorClass;

use super::canary::{self, CanaryError, Peer};
use super::host_access::AccessError;
use super::observe::Sight;
use super::record::{PassRecord, RecordError};
use super::{Event, Executor};
use crate::encryption_configuration::GroupResource;
use crate::host::{Change, Task};
use crate::reencrypt::{
    Control, Ending, Interrupted, Journal, JournalError, Plan, PlanError, Request, Room, run,
};
use crate::rollout::{Configuration, Inventory, Observed, Pass, Step};
use crate::stored_values;

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// No such host is known.
    #[error("no host {0} is known")]
    NoHost(String),
    /// A host refused.
    #[error(transparent)]
    Host(#[from] AccessError),
    /// What is remembered could not be written first.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// No host says where etcd is.
    #[error("no host says where etcd is")]
    NoEtcd,
    /// etcd cannot be reached.
    #[error("etcd, as kube-apiserver's manifest has it, cannot be reached")]
    Etcd(#[from] EtcdConnectError),
    /// Another cluster's, or another prefix.
    #[error(
        "the etcd of {0}, as kube-apiserver's manifest has it, holds another cluster than the one that answers: run the command on a control-plane host of that one"
    )]
    OtherEtcd(String),
    /// etcd did not answer.
    #[error("etcd cannot be read")]
    Read(#[from] ReadError),
    /// A canary.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// There is nothing to rewrite, or that is not known.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The journal of a re-encryption.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A re-encryption was cut.
    #[error("re-encryption was interrupted")]
    Interrupted(#[from] Interrupted),
}

impl StepError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Host(AccessError::NoAnswer { .. }) => ErrorClass::Unavailable,
            Self::Host(_) | Self::NoHost(_) | Self::NoEtcd | Self::OtherEtcd(_) => {
                ErrorClass::FailedPrecondition
            }
            Self::Record(error) => error.class(),
            Self::Etcd(error) => error.class(),
            Self::Read(_) => ErrorClass::Unavailable,
            Self::Canary(CanaryError::Write { source, .. } | CanaryError::Read { source, .. }) => {
                source.class()
            }
            Self::Canary(CanaryError::Etcd { .. }) => ErrorClass::Unavailable,
            Self::Canary(_) | Self::Journal(_) => ErrorClass::FailedPrecondition,
            Self::Plan(error) => error.class(),
            Self::Interrupted(error) => error.class(),
        }
    }

    /// Whether somebody did not answer, and may at the next attempt.
    pub(super) fn is_away(&self) -> bool {
        match self {
            Self::Canary(CanaryError::Write { source, .. } | CanaryError::Read { source, .. }) => {
                source.is_away()
            }
            other => other.class() == ErrorClass::Unavailable,
        }
    }

    /// Whether something is not as it was when the step was planned.
    pub(super) fn is_stale(&self) -> bool {
        matches!(self, Self::Host(error) if error.is_stale())
    }
}

impl Executor<'_> {
    pub(super) async fn perform(
        &mut self,
        step: &Step,
        observed: &Observed,
        sight: &Sight,
    ) -> Result<(), Box<StepError>> {
        match step {
            Step::Write { server, order } => {
                let configuration = Configuration::Providers(order.clone());
                let change = Change::Write {
                    resources: self.record.resources.clone(),
                    order: order.clone(),
                    plugins: self.record.plugins.clone(),
                };
                self.change(server, change, Some(configuration), sight).await
            }
            Step::RemoveFlag { server } => {
                let change = Change::RemoveFlag { resources: self.record.resources.clone() };
                self.change(server, change, Some(Configuration::NoEncryption), sight).await
            }
            Step::Restart { server } => {
                let report = sight.host(server).and_then(|it| it.report.as_ref().ok());
                let process = report.and_then(|it| it.process.as_ref());
                let process = process.map_or_else(|| "none".to_owned(), |it| it.id.clone());
                self.change(server, Change::Restart { process }, None, sight).await
            }
            // Looking again is all there is to do. A key becomes the one that encrypts where it is kept.
            Step::Wait { .. } | Step::PromoteKey { .. } => Ok(()),
            Step::Canary { server } => self.canary(server, sight).await,
            Step::Reencrypt { resource, resume } => self.reencrypt(resource, *resume, observed, sight).await,
            Step::TakeInventory { resource } => self.take_inventory(resource, observed, sight).await,
        }
    }

    async fn change(
        &mut self,
        server: &str,
        change: Change,
        new: Option<Configuration>,
        sight: &Sight,
    ) -> Result<(), Box<StepError>> {
        let host = self.hosts.iter().find(|it| it.name() == server).cloned();
        let seen = sight.host(server).and_then(|it| Some(it.report.as_ref().ok()?.seen.clone()));
        let (Some(host), Some(seen)) = (host, seen) else {
            return Err(Box::new(StepError::NoHost(server.to_owned())));
        };
        // Before it is written: whoever comes after a crash must know that it may be in use.
        if let (Some(new), Some(known)) = (new, self.record.servers.get_mut(server)) {
            known.written.push(new);
            known.written.dedup();
            self.keep().await.map_err(StepError::from).map_err(Box::new)?;
        }
        let task = self.under(Task::Change { change, seen });
        host.perform(&task).await.map_err(StepError::from).map_err(Box::new)?;
        Ok(())
    }

    async fn canary(&mut self, server: &str, sight: &Sight) -> Result<(), Box<StepError>> {
        let (etcd, layout) = self.etcd(sight).await?;
        let resources: Vec<GroupResource> =
            self.record.resources.iter().map(|it| GroupResource::parse(it)).collect();
        let (writer, readers): (Vec<Peer>, Vec<Peer>) =
            sight.hosts.iter().filter_map(Peer::of).partition(|it| it.name == server);
        let writer = writer.first().ok_or_else(|| StepError::NoHost(server.to_owned())).map_err(Box::new)?;
        let canary = canary::run(&resources, writer, &readers, &etcd, &layout).await;
        self.canaries.push(canary.map_err(StepError::from).map_err(Box::new)?);
        Ok(())
    }

    async fn take_inventory(
        &mut self,
        resource: &str,
        observed: &Observed,
        sight: &Sight,
    ) -> Result<(), Box<StepError>> {
        let began_with = observed.writers();
        let (etcd, layout) = self.etcd(sight).await?;
        let found = stored_values::count(&etcd, &layout, &GroupResource::parse(resource)).await;
        let found = found.map_err(StepError::from).map_err(Box::new)?;
        let inventory = Inventory::Counted {
            revision: found.revision,
            began_with,
            counts: found.counts,
            malformed: found.malformed,
        };
        self.counted.insert(resource.to_owned(), (inventory, found.seeds));
        // What was seen before is answered when each resource was counted since.
        self.counted_since.insert(resource.to_owned());
        if self.record.resources.iter().all(|it| self.counted_since.contains(it)) {
            self.counted_since.clear();
            self.record.written_since.clear();
        }
        Ok(())
    }

    async fn reencrypt(
        &mut self,
        resource: &str,
        resume: bool,
        observed: &Observed,
        sight: &Sight,
    ) -> Result<(), Box<StepError>> {
        let began_with = observed.writers();
        let fail = |error: StepError| Box::new(error);
        let request = Request { resources: vec![resource.to_owned()], ..Request::default() };
        let plan = Plan::make(&self.server, request).await.map_err(StepError::from).map_err(fail)?;
        let file = self
            .journals
            .as_ref()
            .map(|it| it.join(format!("rollout-{}-reencrypt-{resource}.json", self.record.cluster)));
        if let Some(file) = file.as_ref().filter(|_| !resume) {
            drop(std::fs::remove_file(file));
        }
        let journal = Journal::open(file.as_deref(), &plan).map_err(StepError::from).map_err(fail)?;
        let (etcd, layout) = self.etcd(sight).await?;
        let room = Room::of(etcd);
        // Whoever may not ask etcd for its state finds out where there is no room.
        if let Ok(Some(text)) = room.forecast(&plan, &layout.etcd_prefix).await {
            (self.events)(Event::Remark { host: "etcd", text: &text });
        }
        let before = self.record.passes.get(resource).and_then(|it| it.last_clean.clone());
        self.record.passes.insert(
            resource.to_owned(),
            PassRecord { pass: Pass::Partial { began_with: began_with.clone() }, last_clean: before.clone() },
        );
        self.keep().await.map_err(StepError::from).map_err(fail)?;
        let control = Control { stop: self.stop.clone(), room: Some(room), ..Control::default() };
        let events = &mut *self.events;
        let mut observer = |progress: &crate::reencrypt::Progress| events(Event::Reencrypt(progress));
        let done = run(&self.server, &plan, journal, control, &mut observer).await;
        (self.events)(Event::Rewritten(&done.report.to_string()));
        if let Some(interrupted) = done.interrupted {
            return Err(fail(interrupted.into()));
        }
        let report = done.report;
        let last_found = report.passes.last().map_or(0, |it| it.count(crate::reencrypt::Outcome::Rewritten));
        let (etcd, _) = self.etcd(sight).await?;
        let ended_revision = etcd.revision().await.map_err(StepError::from).map_err(fail)?;
        let rounds = u32::try_from(report.passes.len()).unwrap_or(u32::MAX);
        let clean = report.ending == Ending::AllCurrent;
        let pass = match report.ending {
            Ending::Stopped | Ending::Interrupted => Pass::Partial { began_with: began_with.clone() },
            _ => Pass::Done {
                began_with: began_with.clone(),
                // A pass that found nothing stale is enough: the engine's last one went over everything.
                rounds: if clean { rounds.max(2) } else { rounds },
                ended_revision,
                last_found,
                refused: report.unsettled(),
            },
        };
        let last_clean = match clean {
            true => Some(began_with),
            false => before.filter(|_| last_found == 0),
        };
        self.record.passes.insert(resource.to_owned(), PassRecord { pass, last_clean });
        Ok(())
    }

    async fn etcd(&mut self, sight: &Sight) -> Result<(Etcd, Layout), Box<StepError>> {
        let access = &sight.reports().next().ok_or(StepError::NoEtcd).map_err(Box::new)?.etcd;
        let (layout, connection) = (access.layout(), access.connection());
        if let Some(etcd) = &self.etcd {
            return Ok((etcd.clone(), layout));
        }
        let etcd = Etcd::connect(&connection).await.map_err(StepError::from).map_err(Box::new)?;
        let is_it = stored_values::is_of_cluster(&etcd, &layout.etcd_prefix, &self.record.cluster).await;
        if !is_it.map_err(StepError::from).map_err(Box::new)? {
            return Err(Box::new(StepError::OtherEtcd(etcd.endpoint().to_owned())));
        }
        self.etcd = Some(etcd.clone());
        Ok((etcd, layout))
    }
}
