use std::error::Error;
use std::time::Duration;

use keystead_model::ErrorClass;

/// An answer that is no success, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused or failed.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// There was no whole answer in time.
    #[error("{request}: no answer within {limit:?}")]
    Timeout {
        /// Method and path.
        request: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The connection could not be made, or broke.
    #[error("{request}: the API server cannot be reached")]
    Transport {
        /// Method and path.
        request: String,
        /// What the transport says.
        source: Box<kube::Error>,
    },
    /// A token, a certificate or a plugin that the kubeconfig names gave no credentials. Its words are not repeated: they may
    /// hold them.
    #[error("{request}: what the kubeconfig names gave no credentials")]
    Credentials {
        /// Method and path.
        request: String,
    },
    /// The answer is longer than it may be.
    #[error("{request}: the answer has more than {longest} bytes")]
    TooLong {
        /// Method and path.
        request: String,
        /// The most that it may have.
        longest: usize,
    },
    /// The answer is not what was asked for.
    #[error("{request}: the answer is not what was asked for")]
    Answer {
        /// Method and path.
        request: String,
        /// What does not fit. It names a place, no values.
        source: serde_json::Error,
    },
}

/// Whether an error is about a token, a certificate or a plugin. Whoever passes it on leaves its words out: they repeat what the
/// plugin wrote and the environment it ran in. kube has it bare where a client is made, and boxed where one is used.
pub(super) fn is_about_credentials(error: &kube::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<kube::client::AuthError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// A `Status` of the Kubernetes API.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{request}: HTTP {status} {reason}: {message}")]
pub struct Refusal {
    /// Method and path.
    pub request: String,
    /// The HTTP status.
    pub status: u16,
    /// Kubernetes' word for it, such as `NotFound`; empty where the answer is no `Status`.
    pub reason: String,
    /// Kubernetes' message, or what else the answer was; at most 4 KiB.
    pub message: String,
    /// Plural name of the resource that it is about, such as `secrets`, where it says so; otherwise empty.
    pub resource: String,
    /// Name of the object that it is about, where it says so; otherwise empty.
    pub object: String,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Of a list whose token has expired: where to go on, at another revision.
    pub continue_token: Option<String>,
}

impl Refusal {
    /// Whether Kubernetes says that this very object is not there. Another 404 says that of a path, a version or a namespace, or comes
    /// from something between.
    pub(crate) fn is_missing(&self, resource: &str, object: &str) -> bool {
        self.status == 404 && self.reason == "NotFound" && self.resource == resource && self.object == object
    }
}

impl CallError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Timeout { .. } => ErrorClass::Timeout,
            Self::Transport { .. } => ErrorClass::Unavailable,
            Self::Credentials { .. } => ErrorClass::Unauthenticated,
            Self::TooLong { .. } | Self::Answer { .. } => ErrorClass::Corrupt,
            Self::Refused(refusal) => match refusal.status {
                401 => ErrorClass::Unauthenticated,
                403 => ErrorClass::Denied,
                404 => ErrorClass::NotFound,
                409 => ErrorClass::Aborted,
                429 => ErrorClass::Throttled,
                500.. => ErrorClass::Unavailable,
                _ => ErrorClass::Invalid,
            },
        }
    }

    /// Whether nobody answered, or somebody who starts, ends or is busy. HTTP 500 is an answer: so a value that cannot be decrypted is told.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Transport { .. } => true,
            Self::Refused(refusal) => matches!(refusal.status, 429 | 503),
            Self::Credentials { .. } | Self::TooLong { .. } | Self::Answer { .. } => false,
        }
    }

    /// Whether asking again may help, where the rollout itself restarts API servers: nobody answers, or one that is not well.
    pub(crate) fn may_pass(&self) -> bool {
        self.is_away() || self.class() == ErrorClass::Unavailable
    }

    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}
