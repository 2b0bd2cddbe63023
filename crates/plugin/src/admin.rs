//! What the admin port and the service manager are told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keystead_runtime::{Notify, Readiness, Report};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::providers::{ExpirySource, Refused, RefusedSource};
use crate::snapshot::{NotServing, Published, State};
use crate::transport::SocketWatch;
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
    /// Whether clients reach the socket.
    pub(crate) socket: Arc<SocketWatch>,
    /// When credentials end.
    pub(crate) expiry: ExpirySource,
    /// Why a start would not find what the plugin goes on with.
    pub(crate) refused: RefusedSource,
}

impl Report for PluginReport {
    fn readiness(&self) -> Readiness {
        let state = self.published.state();
        let mut text = format!("{}\n", describe(&state));
        if let Some((what, at)) = (self.expiry)() {
            text.push_str(&format!("{what} {}\n", ends(at, SystemTime::now())));
        }
        if let Some(Refused { kept, reason }) = (self.refused)() {
            let kept = kept.noun();
            text.push_str(&format!("goes on with the last good {kept}, could not start again: {reason}\n"));
        }
        for key_id in self.published.history().lost() {
            text.push_str(&format!(
                "the key backend has lost {key_id}: what was encrypted with it can be read only from the memory of this \
                 plugin; put the backend's newer state back, or rotate and rewrite it before this plugin ends\n"
            ));
        }
        let lost = self.socket.lost();
        if let Some(reason) = &lost {
            text.insert_str(0, &format!("clients cannot reach the socket: {reason}\n"));
        }
        Readiness { ready: self.published.snapshot().is_ok() && lost.is_none(), text }
    }

    fn metrics(&self) -> String {
        self.metrics.socket(&self.socket);
        self.metrics.refused((self.refused)().map(|refused| refused.kept));
        self.metrics.keys_lost(self.published.history().lost().count());
        self.metrics.text(&self.published.state(), self.cache.len(), (self.expiry)())
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

/// The end of a credential, in words.
fn ends(at: SystemTime, now: SystemTime) -> String {
    const HOUR: u64 = 60 * 60;
    const DAY: u64 = 24 * HOUR;
    match at.duration_since(now).map(|left| left.as_secs()) {
        Ok(left) if left >= 2 * DAY => format!("ends in {} days", left / DAY),
        Ok(left) => format!("ends in {} hours", left / HOUR),
        Err(_) => "has ended".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_credential_is_said_in_words() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(ends(now + hours(24 * 30), now), "ends in 30 days");
        assert_eq!(ends(now + hours(47), now), "ends in 47 hours");
        assert_eq!(ends(now, now), "ends in 0 hours");
        assert_eq!(ends(now - hours(1), now), "has ended");
    }
}
