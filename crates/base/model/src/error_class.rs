//! The one table from error class to what callers see.

/// What kind of failure an error is. Every error that crosses a crate boundary answers one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The name is taken.
    AlreadyExists,
    /// Somebody else was faster; the caller may start over.
    Aborted,
    /// A fault of ours.
    Bug,
    /// The data is not what was once written.
    Corrupt,
    /// The caller is known and may not.
    Denied,
    /// The state does not allow it, for example a disabled key version.
    FailedPrecondition,
    /// The request is malformed.
    Invalid,
    /// A setting or a credential on our side is wrong.
    Misconfigured,
    /// There is no such thing.
    NotFound,
    /// Too many requests.
    Throttled,
    /// No answer in time.
    Timeout,
    /// The other side does not know who we are.
    Unauthenticated,
    /// The other side cannot be reached or cannot work now.
    Unavailable,
    /// The method or the option does not exist here.
    Unimplemented,
}

impl ErrorClass {
    /// The gRPC status code.
    pub fn grpc_code(self) -> i32 {
        self.row().0
    }

    /// The HTTP status.
    pub fn http_status(self) -> u16 {
        self.row().1
    }

    /// The exit code of a command that ends with it: 1 failed or refused, 4 unreachable, 5 denied, 6 a verification
    /// found a problem, 70 bug. (2, usage and configuration text, belongs to parsers and not to a class.)
    pub fn exit_code(self) -> u8 {
        self.row().2
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_retryable(self) -> bool {
        self.row().3
    }

    /// Whether a backend says with this class that the key may no longer be used, as opposed to not answering.
    pub fn is_revocation(self) -> bool {
        matches!(self, Self::Denied | Self::FailedPrecondition | Self::NotFound)
    }

    /// Lower case, stable: it is a label of metrics and a field of logs.
    pub fn name(self) -> &'static str {
        self.row().4
    }

    fn row(self) -> (i32, u16, u8, bool, &'static str) {
        match self {
            Self::AlreadyExists => (6, 409, 1, false, "already_exists"),
            Self::Aborted => (10, 409, 1, true, "aborted"),
            Self::Bug => (13, 500, 70, false, "bug"),
            Self::Corrupt => (15, 500, 6, false, "corrupt"),
            Self::Denied => (7, 403, 5, false, "denied"),
            Self::FailedPrecondition => (9, 400, 1, false, "failed_precondition"),
            Self::Invalid => (3, 400, 1, false, "invalid"),
            Self::Misconfigured => (9, 500, 1, false, "misconfigured"),
            Self::NotFound => (5, 404, 1, false, "not_found"),
            Self::Throttled => (8, 429, 4, true, "throttled"),
            Self::Timeout => (4, 504, 4, true, "timeout"),
            Self::Unauthenticated => (16, 401, 5, false, "unauthenticated"),
            Self::Unavailable => (14, 503, 4, true, "unavailable"),
            Self::Unimplemented => (12, 501, 1, false, "unimplemented"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorClass::*;

    /// Written by hand from the gRPC status codes and design, not from the table above.
    #[test]
    fn classes_map_to_codes() {
        for (class, grpc, http, exit, retry) in [
            (AlreadyExists, 6, 409, 1, false),
            (Aborted, 10, 409, 1, true),
            (Bug, 13, 500, 70, false),
            (Corrupt, 15, 500, 6, false),
            (Denied, 7, 403, 5, false),
            (FailedPrecondition, 9, 400, 1, false),
            (Invalid, 3, 400, 1, false),
            (Misconfigured, 9, 500, 1, false),
            (NotFound, 5, 404, 1, false),
            (Throttled, 8, 429, 4, true),
            (Timeout, 4, 504, 4, true),
            (Unauthenticated, 16, 401, 5, false),
            (Unavailable, 14, 503, 4, true),
            (Unimplemented, 12, 501, 1, false),
        ] {
            assert_eq!(
                (class.grpc_code(), class.http_status(), class.exit_code(), class.is_retryable()),
                (grpc, http, exit, retry),
                "{class:?}"
            );
        }
    }
}
