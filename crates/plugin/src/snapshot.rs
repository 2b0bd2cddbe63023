//! The one value that Status, Encrypt and readiness read.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use keystead_crypto::Secret32;
use keystead_model::{ErrorClass, KeyReference};
use tokio::sync::SetOnce;
use tokio::time::Instant;

use crate::key_history::KeyHistory;

/// What encrypts now: a wrapping key and the names that go with it.
pub(crate) struct Snapshot {
    /// Which key version wrapped the wrapping key.
    pub(crate) reference: KeyReference,
    /// Seals what kube-apiserver sends. Only its wrapped form leaves the process.
    pub(crate) wrapping_key: Arc<Secret32>,
    /// The wrapped form, as the provider gave it.
    pub(crate) wrapped: Vec<u8>,
    /// When it was made.
    pub(crate) made: Instant,
}

impl Snapshot {
    /// The reference as text: `key_id` of Status and Encrypt.
    pub(crate) fn key_id(&self) -> &str {
        self.reference.as_str()
    }
}

/// Whether there is a snapshot, and how good it is.
#[derive(Clone)]
pub(crate) enum State {
    /// The backend has not answered yet.
    Starting {
        /// What the first attempts failed with.
        reason: String,
    },
    /// Encrypting.
    Serving {
        /// What with.
        snapshot: Arc<Snapshot>,
        /// Set while the backend does not answer.
        outage: Option<Outage>,
    },
    /// Not encrypting: the key was taken away or lost, or the outage has lasted too long. The snapshot is gone.
    Refusing {
        /// What callers are told.
        class: ErrorClass,
        /// Why, for people.
        reason: String,
    },
}

/// A backend that does not answer, while the last good snapshot is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    /// The first failed probe.
    pub(crate) since: Instant,
    /// From then on the snapshot is not served any more.
    pub(crate) until: Instant,
    /// What the backend says.
    pub(crate) reason: String,
}

/// Where the prober publishes and everybody else reads, without a lock.
pub(crate) struct Published {
    state: ArcSwap<State>,
    history: ArcSwap<KeyHistory>,
    first: SetOnce<()>,
}

/// A first probe takes milliseconds where the backend is well, and the guard's 2.5 s at most. Callers wait 3 s.
const FIRST_PROBE: Duration = Duration::from_millis(2_600);

impl Published {
    /// Nothing yet.
    pub(crate) fn starting() -> Self {
        let reason = "the backend has not been asked yet".to_owned();
        let state = ArcSwap::from_pointee(State::Starting { reason });
        Self { state, history: ArcSwap::default(), first: SetOnce::new() }
    }

    /// The state now.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// What was encrypted with before, as of the last probe that was answered.
    pub(crate) fn history(&self) -> Arc<KeyHistory> {
        self.history.load_full()
    }

    /// Waits for the first probe, so that a call in the first milliseconds of a process is answered and not refused:
    /// kube-apiserver would come back only after 10 s.
    pub(crate) async fn first_probe(&self) {
        if !self.first.initialized() {
            drop(tokio::time::timeout(FIRST_PROBE, self.first.wait()).await);
        }
    }

    /// The snapshot to serve from, or why there is none. The bound of an outage holds to the moment, whatever the prober
    /// is doing.
    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, NotServing> {
        match &**self.state.load() {
            State::Serving { snapshot, outage: None } => Ok(Arc::clone(snapshot)),
            State::Serving { snapshot, outage: Some(outage) } if Instant::now() < outage.until => {
                Ok(Arc::clone(snapshot))
            }
            State::Serving { outage: Some(outage), .. } => Err(NotServing::after(outage)),
            State::Starting { reason } => {
                Err(NotServing { class: ErrorClass::Unavailable, reason: format!("not ready yet: {reason}") })
            }
            State::Refusing { class, reason } => Err(NotServing { class: *class, reason: reason.clone() }),
        }
    }

    /// For the prober, which is the only writer.
    pub(crate) fn publish_history(&self, history: KeyHistory) {
        self.history.store(Arc::new(history));
    }

    /// For the prober, which is the only writer.
    pub(crate) fn publish(&self, state: State) {
        self.state.store(Arc::new(state));
        // Already set by every probe but the first.
        drop(self.first.set(()));
    }
}

/// There is nothing to encrypt with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct NotServing {
    class: ErrorClass,
    reason: String,
}

impl NotServing {
    /// Decides the code that callers see.
    pub(crate) fn class(&self) -> ErrorClass {
        self.class
    }

    pub(crate) fn after(outage: &Outage) -> Self {
        let reason =
            format!("the key backend has not answered for longer than the outage bound: {}", outage.reason);
        Self { class: ErrorClass::Unavailable, reason }
    }
}
