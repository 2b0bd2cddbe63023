//! Why etcd gives nothing.

use std::path::PathBuf;

use keystead_model::{ErrorClass, causes_of};
use tonic::Status;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No address at all.
    #[error("no address of etcd is given")]
    NoEndpoint,
    /// Not a URL.
    #[error("`{0}` is not an address of etcd such as https://127.0.0.1:2379")]
    Endpoint(String),
    /// `https` without anybody to trust.
    #[error("{0} needs TLS, and no authority is given that its certificate comes from")]
    NoAuthority(String),
    /// `http` to another host with a password.
    #[error("the password is not sent to {0}: without TLS everybody on the way reads it")]
    PasswordInClear(String),
    /// A file of TLS, or that of the password.
    #[error("cannot read {}", path.display())]
    File {
        /// The file that cannot be read.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What the files hold does not make a TLS client.
    #[error("the TLS files for etcd do not fit together")]
    Tls(#[source] tonic::transport::Error),
    /// Nobody answers, or one of the two sides refuses the other's certificate.
    #[error("no etcd answers: {}", listed(.0))]
    Connect(Vec<NoAnswer>),
    /// It answers that we may not read.
    #[error("etcd at {endpoint} refuses")]
    Refused {
        /// Whose answer it is.
        endpoint: String,
        /// The answer.
        source: ReadError,
    },
}

/// One address where nobody answers.
#[derive(Debug)]
pub struct NoAnswer {
    /// The address that was tried.
    pub endpoint: String,
    /// What the transport says.
    pub reason: String,
}

impl NoAnswer {
    pub(super) fn new(endpoint: &str, error: &dyn std::error::Error) -> Self {
        // The innermost cause says it: `Connection refused`, `invalid peer certificate: UnknownIssuer`.
        let reason = causes_of(error).pop().unwrap_or_else(|| error.to_string());
        Self { endpoint: endpoint.to_owned(), reason }
    }
}

impl ConnectError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Connect(_) => ErrorClass::Unavailable,
            Self::Refused { source, .. } => source.class(),
            _ => ErrorClass::Misconfigured,
        }
    }
}

/// Why etcd did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// etcd's own error, or none of its answers arrived.
    #[error("cannot read from etcd")]
    Call(#[source] Box<Status>),
    /// The answer has no header, so it does not say which revision it is of.
    #[error("etcd's answer does not name its revision")]
    NoRevision,
    /// A page that does not follow the one before, or that has no keys although more follow.
    #[error("etcd's answer is not the next keys in their order")]
    Disorder,
}

impl ReadError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        let Self::Call(status) = self else { return ErrorClass::Corrupt };
        match status.code() {
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => ErrorClass::Timeout,
            tonic::Code::ResourceExhausted => ErrorClass::Throttled,
            tonic::Code::Unauthenticated => ErrorClass::Unauthenticated,
            tonic::Code::PermissionDenied => ErrorClass::Denied,
            tonic::Code::InvalidArgument if UNKNOWN_CALLER.iter().any(|it| status.message().contains(it)) => {
                ErrorClass::Unauthenticated
            }
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => ErrorClass::Invalid,
            tonic::Code::Unimplemented => ErrorClass::Unimplemented,
            _ => ErrorClass::Unavailable,
        }
    }
}

fn listed(attempts: &[NoAnswer]) -> String {
    let each = attempts.iter().map(|it| format!("{} ({})", it.endpoint, it.reason));
    each.collect::<Vec<_>>().join(", ")
}

/// etcd answers both with "invalid argument" (`ErrGRPCUserEmpty` and `ErrGRPCAuthFailed` in its `rpctypes`): it has users, and
/// nobody logged in or the password is wrong.
const UNKNOWN_CALLER: [&str; 2] = ["user name is empty", "authentication failed"];
