//! What goes wrong when an API server is asked.

/// An answer that is no success, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or failed.
    #[error("{request}: HTTP {status} {reason}: {message}")]
    Status {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Kubernetes' word for it, such as `NotFound`; empty when the body is no `Status`.
        reason: String,
        /// Kubernetes' message, or the body.
        message: String,
    },
    /// There was no whole answer.
    #[error("no answer from the API server")]
    Transport(#[from] reqwest::Error),
    /// The answer is not what this client reads.
    #[error("cannot read the API server's answer")]
    Answer(#[from] serde_json::Error),
    /// A value of a Secret is not base64.
    #[error("a value of a Secret is not base64")]
    Value(#[from] base64::DecodeError),
}

impl Error {
    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}
