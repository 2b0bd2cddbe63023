//! What the admin port and the service manager are told.

use std::sync::Arc;
use std::time::Duration;

use keystead_runtime::{Notify, Readiness, Report};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::snapshot::{NotServing, Published, State};
use crate::unwrap_cache::UnwrapCache;

/// How often the service manager's status line is brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the snapshot and the metrics.
pub(crate) struct PluginReport {
    /// The state now.
    pub(crate) published: Arc<Published>,
    /// For the number of entries.
    pub(crate) cache: Arc<UnwrapCache>,
    /// For `/metrics`.
    pub(crate) metrics: Arc<Metrics>,
}

impl Report for PluginReport {
    fn readiness(&self) -> Readiness {
        let state = self.published.state();
        Readiness { ready: self.published.snapshot().is_ok(), text: format!("{}\n", describe(&state)) }
    }

    fn metrics(&self) -> String {
        self.metrics.text(&self.published.state(), self.cache.len())
    }
}

/// Keeps `systemctl status` up to date.
pub(crate) async fn tell_service_manager(
    published: Arc<Published>,
    notify: Arc<Notify>,
    stopping: CancellationToken,
) {
    loop {
        notify.status(&describe(&published.state()));
        tokio::select! {
            () = tokio::time::sleep(STATUS_INTERVAL) => {}
            () = stopping.cancelled() => return,
        }
    }
}

/// One sentence for a person.
fn describe(state: &State) -> String {
    match state {
        State::Starting { reason } => format!("starting: the key backend is not usable yet: {reason}"),
        State::Serving { snapshot, outage: None } => format!("ok: encrypting with {}", snapshot.key_id()),
        State::Serving { outage: Some(outage), .. } if Instant::now() >= outage.until => {
            format!("refusing: {}", NotServing::after(outage))
        }
        State::Serving { snapshot, outage: Some(outage) } => {
            let left = outage.until.saturating_duration_since(Instant::now()).as_secs();
            let key_id = snapshot.key_id();
            let reason = &outage.reason;
            format!(
                "outage: still encrypting with {key_id}, for {left} s more; the key backend does not answer: {reason}"
            )
        }
        State::Refusing { reason, .. } => format!("refusing: {reason}"),
    }
}
