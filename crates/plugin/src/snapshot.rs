//! The one value that Status, Encrypt and readiness read.

use std::sync::Arc;

use arc_swap::ArcSwap;
use keystead_crypto::Secret32;
use keystead_model::{ErrorClass, KeyReference};
use tokio::time::Instant;

/// What encrypts now: a wrapping key and the names that go with it.
pub(crate) struct Snapshot {
    /// Which key version wrapped the wrapping key.
    pub(crate) reference: KeyReference,
    /// The reference as text: `key_id` of Status and Encrypt.
    pub(crate) key_id: String,
    /// Seals what kube-apiserver sends. Only its wrapped form leaves the process.
    pub(crate) wrapping_key: Arc<Secret32>,
    /// The wrapped form, as the provider gave it.
    pub(crate) wrapped: Vec<u8>,
    /// When it was made.
    pub(crate) made: Instant,
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
    /// Not encrypting: the key was taken away, or the outage has lasted too long. The wrapping key is wiped.
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
pub(crate) struct Published(ArcSwap<State>);

impl Published {
    /// Nothing yet.
    pub(crate) fn starting() -> Self {
        let reason = "the backend has not been asked yet".to_owned();
        Self(ArcSwap::from_pointee(State::Starting { reason }))
    }

    /// The state now.
    pub(crate) fn state(&self) -> Arc<State> {
        self.0.load_full()
    }

    /// The snapshot to serve from, or why there is none. The bound of an outage holds to the moment, whatever the prober
    /// is doing.
    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, NotServing> {
        match &**self.0.load() {
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
    pub(crate) fn publish(&self, state: State) {
        self.0.store(Arc::new(state));
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
