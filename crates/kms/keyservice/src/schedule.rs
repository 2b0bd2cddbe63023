//! What happens by itself: rotations and destructions whose time has come, and re-encryption after a rotation.
//!
//! The planners in `keystead-model` decide; this carries out. What was missed while the server was stopped is done once, when
//! the clock is trusted. Two servers on one store cannot both act, because each commit expects the records as they were read.

mod backup_destinations;
mod cluster_watch;
mod ended_records;
mod kept;
mod local_clusters;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use keystead_audit::ClockWatch;
use keystead_model::{ErrorClass, Principal};

use crate::operations::{Attempt, DestroyDueVersion, ReencryptDueCluster, RotateDueKey};
use crate::remembered::Due;
use crate::{Call, Caller, Credential, Figures, KeyService, KmsError, Origin};

pub(crate) use cluster_watch::ClusterWatch;
pub(crate) use kept::Kept;
pub use local_clusters::LocalCluster;

/// A rotation or a destruction is late by this at most, also when the wall clock is set.
const TICK: Duration = Duration::from_secs(5);
/// How often records of ended credentials are looked for.
const SWEPT_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How often clusters are looked at that may have to be encrypted anew: all of them are read for it.
const CLUSTERS_SEEN_EVERY: Duration = Duration::from_secs(60);
/// Whom the audit log names for what nobody asked for.
const SCHEDULE: &str = "schedule@keystead.local";

/// What one look at the agenda did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Keys that were rotated.
    pub rotated: usize,
    /// Versions whose material is gone now.
    pub destroyed: usize,
    /// Versions that are kept because somebody uses them, for a reason that was not said before.
    pub kept: usize,
    /// Clusters that are being encrypted anew now.
    pub reencrypted: usize,
    /// Things that could not be done and are tried again.
    pub failed: usize,
}

/// What one process knows of its looks at the agenda.
pub(crate) struct Schedule {
    watch: ClockWatch,
    /// The clock went back, and not every rotation has been planned anew since.
    replans: bool,
    kept: Kept,
    /// When the records of what ended long ago were deleted.
    swept: Option<Timestamp>,
    /// When clusters were looked at.
    clusters_seen: Option<Instant>,
}

impl Schedule {
    /// Nothing was looked at yet. `last_alive`: when the process before this one was.
    pub(crate) fn new(last_alive: Option<Timestamp>, now: Instant) -> Self {
        Self {
            watch: ClockWatch::new(last_alive, now),
            replans: false,
            kept: Kept::default(),
            swept: None,
            clusters_seen: None,
        }
    }

    /// Does what is due, as far as the clock is trusted, and says only what earlier looks have not said. `counted` is the clock
    /// that nobody sets.
    pub(crate) async fn look(&mut self, service: &KeyService, counted: Instant) -> Tick {
        let clock = self.watch.look(service.clock.now(), counted);
        self.replans |= clock.went_back;
        if !service.ledger.all_is_read().await {
            return Tick::default();
        }
        let mut done = Tick::default();
        if self.replans {
            // Next times may be as far away as the clock was.
            let all = service.remembered.agenda.rotations();
            done = service.carry_out(all, &mut self.kept).await;
            self.replans = done.failed > 0;
        }
        if !clock.trusted {
            return done;
        }
        self.sweep(service).await;
        let due = service.remembered.agenda.due(service.clock.now());
        self.kept.retain_due(&due);
        done = done.plus(service.carry_out(due, &mut self.kept).await);
        done.plus(self.reencrypt(service, counted).await)
    }

    /// After rotations, because these make it necessary.
    async fn reencrypt(&mut self, service: &KeyService, counted: Instant) -> Tick {
        let is_recent = |seen: Instant| counted.saturating_duration_since(seen) < CLUSTERS_SEEN_EVERY;
        if self.clusters_seen.is_some_and(is_recent) {
            return Tick::default();
        }
        self.clusters_seen = Some(counted);
        match service.reencrypt_due_cluster().await {
            Ok(reencrypted) => Tick { reencrypted: usize::from(reencrypted), ..Tick::default() },
            Err(error) => {
                failed_to("have a cluster encrypted anew")(&error);
                Tick { failed: 1, ..Tick::default() }
            }
        }
    }
}

impl Schedule {
    /// Once a day, because all tokens, certificates and operations are read for it.
    async fn sweep(&mut self, service: &KeyService) {
        let now = service.clock.now();
        if self.swept.is_some_and(|swept| now.duration_since(swept).abs() < SWEPT_EVERY) {
            return;
        }
        let credentials = service.forget_ended_credentials().await;
        let credentials = credentials.inspect_err(failed_to("delete records of credentials that ended"));
        let operations = service.forget_ended_operations().await;
        let operations = operations.inspect_err(failed_to("delete records of operations that ended"));
        let notices = service.forget_notices_of_nobody().await;
        let notices =
            notices.inspect_err(failed_to("delete notices for receivers that are not set up any more"));
        let requests = service.forget_old_requests().await;
        let requests = requests.inspect_err(failed_to("delete requests to which nobody agreed"));
        if credentials.and(operations).and(notices).and(requests).is_ok() {
            self.swept = Some(now);
        }
    }
}

impl Tick {
    fn plus(self, other: Self) -> Self {
        Self {
            rotated: self.rotated + other.rotated,
            destroyed: self.destroyed + other.destroyed,
            kept: self.kept + other.kept,
            reencrypted: self.reencrypted + other.reencrypted,
            failed: self.failed + other.failed,
        }
    }
}

impl KeyService {
    /// Looks at the agenda until it is told to stop, and writes last uses. A failure is logged and tried again.
    pub async fn run_schedule(self: Arc<Self>, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut schedule = Schedule::new(self.audit.last_alive(), Instant::now());
        let mut clusters = ClusterWatch::default();
        loop {
            let done = schedule.look(&self, Instant::now()).await;
            if done != Tick::default() {
                tracing::info!(
                    rotated = done.rotated,
                    destroyed = done.destroyed,
                    kept = done.kept,
                    reencrypted = done.reencrypted,
                    failed = done.failed,
                    "schedule"
                );
            }
            let written = self.write_usage().await;
            drop(written.inspect_err(failed_to("write last uses")));
            let written = self.write_credential_uses().await;
            drop(written.inspect_err(failed_to("write when credentials were used")));
            let delivered = self.ledger.deliver_owed().await;
            drop(delivered.inspect_err(failed_to("bring a committed change into the audit log")));
            self.update_figures(&mut clusters).await;
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = &mut stop => break,
            }
        }
        drop(self.write_all_usage().await.inspect_err(failed_to("write last uses")));
        let written = self.write_credential_uses().await;
        drop(written.inspect_err(failed_to("write when credentials were used")));
    }

    /// What the server shows of records, as of the last look.
    pub fn figures(&self) -> Figures {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        figures.failed_operations = self.failed_operations.counts();
        figures.versions_to_destroy = self.remembered.agenda.destructions();
        figures
    }

    async fn update_figures(&self, watch: &mut ClusterWatch) {
        let webhooks = self.limit_notices().await.inspect_err(failed_to("limit the notices that wait"));
        let clusters = watch.look(self, Instant::now()).await.inspect_err(failed_to("look at the clusters"));
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(webhooks) = webhooks {
            figures.webhooks = webhooks;
        }
        if let Ok(Some(clusters)) = clusters {
            figures.clusters = clusters;
        }
    }

    /// Does what is due by the wall clock.
    pub async fn tick(&self) -> Tick {
        Schedule::new(None, Instant::now()).look(self, Instant::now()).await
    }

    async fn carry_out(&self, due: Vec<Due>, kept: &mut Kept) -> Tick {
        let mut done = Tick::default();
        for due in due {
            // One call for each: its id names one audit record.
            let Ok(call) = self.schedule_call().inspect_err(failed_to("begin what is due")) else {
                return done;
            };
            let outcome = match due {
                Due::Rotation(key) => {
                    let rotated = self.run(&call, RotateDueKey { key }).await;
                    rotated.map(|rotated| done.rotated += usize::from(rotated))
                }
                Due::Destruction(version) => {
                    let attempt = self.run(&call, DestroyDueVersion { version: version.clone() }).await;
                    attempt.map(|attempt| match attempt {
                        Attempt::Destroyed => done.destroyed += 1,
                        Attempt::Kept(reason) if kept.is_news(&version, &reason) => {
                            tracing::warn!(%version, reason, "a version that is due for destruction is kept");
                            done.kept += 1;
                        }
                        Attempt::Kept(_) | Attempt::NotDue => {}
                    })
                }
            };
            match outcome {
                // Its state changed meanwhile; that is no failure, and is asked again.
                Err(error) if error.class() == ErrorClass::FailedPrecondition => {
                    tracing::debug!(%error, "what was due is not any more");
                }
                Err(error) => {
                    tracing::error!(%error, "the schedule could not do what is due; it tries again");
                    done.failed += 1;
                }
                Ok(()) => {}
            }
        }
        done
    }

    async fn reencrypt_due_cluster(&self) -> Result<bool, KmsError> {
        self.run(&self.schedule_call()?, ReencryptDueCluster).await
    }

    fn schedule_call(&self) -> Result<Call, KmsError> {
        let caller = Caller {
            principal: Principal::ServiceAccount(SCHEDULE.to_owned()),
            groups: Vec::new(),
            credential: Credential::Schedule,
        };
        self.call(Arc::new(caller), Origin::default())
    }
}

fn failed_to(what: &'static str) -> impl Fn(&KmsError) {
    move |error| tracing::error!(%error, "cannot {what}; it tries again")
}
