//! What happens by itself: rotations and destructions whose time has come.
//!
//! The planners in `keystead-model` decide; this carries out. What was missed while the server was stopped is done at the
//! first tick. Two servers on one store cannot both act, because each commit expects the records as they were read.

mod clock_watch;
mod destroy;
mod kept;
mod rotate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keystead_model::{ErrorClass, Principal};

use crate::caller::{Call, Caller, Credential, Origin};
use crate::remembered::Due;
use crate::{KeyService, KmsError};

use clock_watch::ClockWatch;
use destroy::{Attempt, DestroyDueVersion};
pub(crate) use kept::Kept;
use rotate::RotateDueKey;

/// A rotation or a destruction is late by this at most, also when the wall clock is set.
const TICK: Duration = Duration::from_secs(5);
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
    /// Things that could not be done and are tried again.
    pub failed: usize,
}

impl KeyService {
    /// Ticks until it is told to stop, and writes last uses. A failure is logged and tried again with the next tick.
    pub async fn run_schedule(self: Arc<Self>, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut watch = ClockWatch::default();
        let mut kept = Kept::default();
        loop {
            let may_destroy = watch.trusts(self.clock.now(), Instant::now());
            let done = self.tick_after(may_destroy, &mut kept).await;
            if done != Tick::default() {
                tracing::info!(
                    rotated = done.rotated,
                    destroyed = done.destroyed,
                    kept = done.kept,
                    failed = done.failed,
                    "schedule"
                );
            }
            let written = self.write_usage().await;
            drop(written.inspect_err(failed_to("write last uses")));
            let delivered = self.ledger.deliver_owed().await;
            drop(delivered.inspect_err(failed_to("bring a committed change into the audit log")));
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = &mut stop => break,
            }
        }
        drop(self.write_usage().await.inspect_err(failed_to("write last uses")));
    }

    /// Does what is due now. Destruction waits while the clock is not trusted.
    pub async fn tick(&self, may_destroy: bool) -> Tick {
        self.tick_after(may_destroy, &mut Kept::default()).await
    }

    /// The same, and says only what earlier ticks have not said of versions that are kept.
    pub(crate) async fn tick_after(&self, may_destroy: bool, kept: &mut Kept) -> Tick {
        let mut done = Tick::default();
        if !self.ledger.agenda_is_read().await {
            return done;
        }
        let due = self.remembered.agenda.due(self.clock.now());
        kept.retain_due(&due);
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
                Due::Destruction(_) if !may_destroy => continue,
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
                    tracing::warn!(%error, "kept");
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
