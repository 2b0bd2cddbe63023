//! The one task that talks to the backend on its own account and writes the snapshot.

use std::sync::Arc;
use std::time::Duration;

use keystead_crypto::{Random, Secret32};
use keystead_model::{ErrorClass, KeyReference};
use keystead_provider::{Provider, ProviderError, Wrapped};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::key_history::{KeyHistory, LookBack};
use crate::snapshot::{NotServing, Outage, Published, Snapshot, State};
use crate::unwrap_cache::UnwrapCache;

/// A wrapping key seals for a day at most.
const WRAPPING_KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// After a failure the next probe comes sooner, so that the plugin heals soon after the backend does.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// When to look, and how long to go on without an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProberSettings {
    /// Time between two probes; each is drawn from the last fifth of it.
    pub(crate) interval: Duration,
    /// How long the last good snapshot is served while the backend does not answer.
    pub(crate) outage_bound: Duration,
}

/// Has the provider wrap a fresh wrapping key and unwrap it again, and publishes it when version or activation count is
/// new or the old one is a day old. Has it also unwrap what is encrypted with now, which a backend that was put back to an
/// older state cannot.
pub(crate) struct Prober {
    /// The guarded backend.
    pub(crate) provider: Arc<dyn Provider>,
    /// Where to publish.
    pub(crate) published: Arc<Published>,
    /// Learns each wrapping key that was published, so that what this process sealed opens without a call.
    pub(crate) cache: Arc<UnwrapCache>,
    /// Bounds.
    pub(crate) settings: ProberSettings,
    /// Wrapping keys and jitter.
    pub(crate) random: Arc<dyn Random>,
}

impl Prober {
    /// Probes until told to stop, also in the middle of a probe.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let probes = async {
            let mut failures = 0;
            loop {
                failures = if self.probe_once().await { 0 } else { failures + 1 };
                tokio::time::sleep(self.pause(failures)).await;
            }
        };
        let _stopped: Option<()> = stopping.run_until_cancelled(probes).await;
    }

    /// One probe; whether the backend answered well and can be encrypted with.
    pub(crate) async fn probe_once(&self) -> bool {
        let before = self.published.state();
        let known = self.published.history();
        let probed = self.probe(&before, &known).await;
        let (fresh, looked_back) = match probed {
            Ok((fresh, history)) => (Ok(fresh), Some(history)),
            Err(error) => (Err(error), None),
        };
        let mut history = looked_back.unwrap_or_else(|| KeyHistory::clone(&known));
        report_losses(&known, &history);
        let after = next_state(&before, fresh, &history, Instant::now(), self.settings.outage_bound);
        report(&before, &after);
        // Not in an outage: what is learned counts as confirmed by the backend.
        if let State::Serving { snapshot, outage: None } = &after {
            self.cache.learn(&snapshot.reference, &snapshot.wrapped, &snapshot.wrapping_key);
            if let Err(error) = history.note(snapshot) {
                tracing::error!(%error, "a loss of this key would not be seen");
            }
        }
        self.published.publish_history(history);
        let refused = matches!(after, State::Refusing { class, .. } if class.is_revocation());
        let good = matches!(after, State::Serving { outage: None, .. });
        self.published.publish(after);
        if refused {
            // Whatever else was unwrapped with this key must go as soon as the snapshot.
            self.cache.recheck(&*self.provider).await;
        }
        good
    }

    async fn probe(&self, before: &State, known: &KeyHistory) -> Result<(Probed, KeyHistory), ProviderError> {
        let bug = |text: String| ProviderError::new(ErrorClass::Bug, text);
        let key = Secret32::generate(&*self.random).map_err(|error| bug(error.to_string()))?;
        let Wrapped { version, activation, material, bytes } = self.provider.wrap(&key).await?;
        if !self.provider.unwrap(&version, &bytes).await?.is_same(&key) {
            let text = "the backend did not unwrap what it had just wrapped";
            return Err(ProviderError::new(ErrorClass::Corrupt, text));
        }
        let reference =
            self.provider.describe().reference(version, activation, material).map_err(|error| {
                ProviderError::new(ErrorClass::Misconfigured, format!("the backend's version is {error}"))
            })?;
        let history = self.look_back(before, known, &reference).await?;
        Ok((Probed { reference, key, wrapped: bytes }, history))
    }

    /// Asks the backend for what it wrapped before: under the key id that is served, under the one that would be served
    /// next, and under those that are lost. An outage of the first two is one of the whole probe.
    async fn look_back(
        &self,
        before: &State,
        known: &KeyHistory,
        next: &KeyReference,
    ) -> Result<KeyHistory, ProviderError> {
        let mut history = known.clone();
        for used in history.used_mut() {
            let is_next = used.reference == *next;
            let is_served =
                matches!(before, State::Serving { snapshot, .. } if snapshot.reference == used.reference);
            if !is_next && !is_served && !used.lost {
                continue;
            }
            let ask = || self.provider.recheck(used.reference.version(), &used.wrapped);
            let mut judged = used.judge(ask().await);
            // An answer that was damaged on its way is asked for again.
            if judged == LookBack::Lost && !used.lost {
                judged = used.judge(ask().await);
            }
            match judged {
                LookBack::Unwraps => used.lost = false,
                LookBack::Lost => used.lost = true,
                // A version that was rotated away may be taken away too.
                LookBack::Unknown(error) if !is_next && error.class().is_revocation() => {}
                LookBack::Unknown(error) if is_next || is_served => return Err(error),
                LookBack::Unknown(_) => {}
            }
        }
        Ok(history)
    }

    fn pause(&self, failures: u32) -> Duration {
        if failures > 0 {
            return (FIRST_RETRY * 2_u32.saturating_pow(failures.min(10) - 1)).min(self.settings.interval);
        }
        let mut byte = [0];
        let drawn = if self.random.fill(&mut byte).is_ok() { f64::from(byte[0]) / 255.0 } else { 0.0 };
        self.settings.interval.mul_f64(1.0 - 0.2 * drawn)
    }
}

struct Probed {
    reference: KeyReference,
    key: Secret32,
    wrapped: Vec<u8>,
}

/// What to publish after a probe. Pure.
fn next_state(
    before: &State,
    probed: Result<Probed, ProviderError>,
    history: &KeyHistory,
    now: Instant,
    bound: Duration,
) -> State {
    match (before, probed) {
        // kube-apiserver would not see that the key is another one, and go on with what cannot be unwrapped any more.
        (_, Ok(probed)) if history.lost().any(|lost| *lost == probed.reference) => State::Refusing {
            class: ErrorClass::Corrupt,
            reason: format!(
                "the key backend cannot unwrap what it wrapped under {}: it was put back to an older state and has another \
                 key under that id now; put the newer state back, or make a new version the primary",
                probed.reference
            ),
        },
        (State::Serving { snapshot, .. }, Ok(probed)) if is_current(snapshot, &probed, now) => {
            State::Serving { snapshot: Arc::clone(snapshot), outage: None }
        }
        (_, Ok(probed)) => State::Serving { snapshot: Arc::new(adopt(probed, now)), outage: None },
        (_, Err(error)) if error.class().is_revocation() => {
            State::Refusing { class: error.class(), reason: format!("the key may not be used: {error}") }
        }
        (State::Starting { .. }, Err(error)) => State::Starting { reason: error.to_string() },
        (State::Serving { snapshot, outage }, Err(error)) => {
            let since = outage.as_ref().map_or(now, |outage| outage.since);
            let outage = Outage { since, until: since + bound, reason: error.to_string() };
            if now < outage.until {
                return State::Serving { snapshot: Arc::clone(snapshot), outage: Some(outage) };
            }
            let ended = NotServing::after(&outage);
            State::Refusing { class: ended.class(), reason: ended.to_string() }
        }
        // Still refusing, with the newest reason; a revocation stays one until the backend works again.
        (State::Refusing { class, .. }, Err(error)) => {
            State::Refusing { class: *class, reason: error.to_string() }
        }
    }
}

fn is_current(snapshot: &Snapshot, probed: &Probed, now: Instant) -> bool {
    snapshot.reference == probed.reference && now.duration_since(snapshot.made) < WRAPPING_KEY_LIFE
}

fn adopt(probed: Probed, now: Instant) -> Snapshot {
    Snapshot {
        reference: probed.reference,
        wrapping_key: Arc::new(probed.key),
        wrapped: probed.wrapped,
        made: now,
    }
}

/// Says once what was lost and what is there again.
fn report_losses(before: &KeyHistory, after: &KeyHistory) {
    for lost in after.lost().filter(|lost| !before.lost().any(|known| known == *lost)) {
        tracing::error!(key_id = lost.as_str(), "the key backend has lost a key that was encrypted with");
    }
    for found in before.lost().filter(|lost| !after.lost().any(|known| known == *lost)) {
        tracing::info!(
            key_id = found.as_str(),
            "the key backend can unwrap what was wrapped with this key again"
        );
    }
}

/// Says what changed, once.
fn report(before: &State, after: &State) {
    match (before, after) {
        (State::Serving { snapshot: old, outage }, State::Serving { snapshot: new, outage: None }) => {
            if outage.is_some() {
                tracing::info!("the key backend answers again");
            }
            if old.reference != new.reference {
                tracing::info!(old = old.key_id(), new = new.key_id(), "the key was rotated");
            }
        }
        (_, State::Serving { snapshot, outage: None }) => {
            tracing::info!(key_id = snapshot.key_id(), "encrypting");
        }
        (State::Serving { outage: None, .. }, State::Serving { outage: Some(outage), .. }) => {
            let for_at_most = outage.until - outage.since;
            tracing::warn!(
                reason = outage.reason,
                ?for_at_most,
                "the key backend does not answer; going on with the last good key"
            );
        }
        (State::Refusing { .. }, State::Refusing { .. }) => {}
        (_, State::Refusing { reason, .. }) => tracing::error!(reason, "encryption stops"),
        (State::Starting { reason: old }, State::Starting { reason: new }) if old != new => {
            tracing::warn!(reason = new, "the key backend is not usable yet");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
