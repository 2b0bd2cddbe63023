//! The one table from error class to what callers see: of a call by gRPC or REST, and of a command.

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

/// How a command ends that did not do what was asked. The numbers are in `keystead --help` and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It failed or was refused.
    Failed = 1,
    /// Wrong usage or configuration text.
    Usage = 2,
    /// A part of it was done; the rest is named, or the command goes on when it is run again.
    Partly = 3,
    /// The other side cannot be reached or did not answer in time.
    Unreachable = 4,
    /// The caller is not known or may not.
    Denied = 5,
    /// A verification found a problem.
    Problem = 6,
    /// A fault of ours.
    Bug = 70,
}

impl ErrorClass {
    /// Every class there is.
    pub const ALL: [Self; 14] = [
        Self::AlreadyExists,
        Self::Aborted,
        Self::Bug,
        Self::Corrupt,
        Self::Denied,
        Self::FailedPrecondition,
        Self::Invalid,
        Self::Misconfigured,
        Self::NotFound,
        Self::Throttled,
        Self::Timeout,
        Self::Unauthenticated,
        Self::Unavailable,
        Self::Unimplemented,
    ];

    /// The class of an answer with this gRPC status code. Several codes have none: no class of ours is answered with them.
    pub fn of_grpc_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.grpc_code() == code)
    }

    /// The class of an answer with this status in its JSON, such as `NOT_FOUND`.
    pub fn of_status(status: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.status() == status)
    }

    /// The gRPC status code.
    pub fn grpc_code(self) -> i32 {
        self.row().0
    }

    /// The gRPC status code as `google.rpc.Code` writes it.
    pub fn status(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status, which goes by the gRPC status code.
    pub fn http_status(self) -> u16 {
        self.row().2
    }

    /// How a command ends that ends with it.
    pub fn exit(self) -> Exit {
        self.row().3
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_retryable(self) -> bool {
        self.row().4
    }

    /// Whether a backend says with this class that the key may no longer be used, as opposed to not answering.
    pub fn is_revocation(self) -> bool {
        matches!(self, Self::Denied | Self::FailedPrecondition | Self::NotFound)
    }

    /// Lower case, stable: it is a label of metrics and a field of logs.
    pub fn name(self) -> &'static str {
        self.row().5
    }

    fn row(self) -> (i32, &'static str, u16, Exit, bool, &'static str) {
        match self {
            Self::AlreadyExists => (6, "ALREADY_EXISTS", 409, Exit::Failed, false, "already_exists"),
            Self::Aborted => (10, "ABORTED", 409, Exit::Failed, true, "aborted"),
            Self::Bug => (13, "INTERNAL", 500, Exit::Bug, false, "bug"),
            Self::Corrupt => (15, "DATA_LOSS", 500, Exit::Problem, false, "corrupt"),
            Self::Denied => (7, "PERMISSION_DENIED", 403, Exit::Denied, false, "denied"),
            Self::FailedPrecondition => {
                (9, "FAILED_PRECONDITION", 400, Exit::Failed, false, "failed_precondition")
            }
            Self::Invalid => (3, "INVALID_ARGUMENT", 400, Exit::Failed, false, "invalid"),
            Self::Misconfigured => (9, "FAILED_PRECONDITION", 400, Exit::Failed, false, "misconfigured"),
            Self::NotFound => (5, "NOT_FOUND", 404, Exit::Failed, false, "not_found"),
            Self::Throttled => (8, "RESOURCE_EXHAUSTED", 429, Exit::Unreachable, true, "throttled"),
            Self::Timeout => (4, "DEADLINE_EXCEEDED", 504, Exit::Unreachable, true, "timeout"),
            Self::Unauthenticated => (16, "UNAUTHENTICATED", 401, Exit::Denied, false, "unauthenticated"),
            Self::Unavailable => (14, "UNAVAILABLE", 503, Exit::Unreachable, true, "unavailable"),
            // As `google.rpc.Code` documents them, but for this one: with 501 gcloud tries again for half a minute, then
            // speaks of the network and hides the sentence that says what is not served. With 400 it prints it at once.
            Self::Unimplemented => (12, "UNIMPLEMENTED", 400, Exit::Failed, false, "unimplemented"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorClass::{self, *};

    /// Written by hand from the gRPC status codes and the documented exit codes, not from the table above.
    #[test]
    fn classes_map_to_codes() {
        let expected = [
            (AlreadyExists, 6, 409, 1, false),
            (Aborted, 10, 409, 1, true),
            (Bug, 13, 500, 70, false),
            (Corrupt, 15, 500, 6, false),
            (Denied, 7, 403, 5, false),
            (FailedPrecondition, 9, 400, 1, false),
            (Invalid, 3, 400, 1, false),
            (Misconfigured, 9, 400, 1, false),
            (NotFound, 5, 404, 1, false),
            (Throttled, 8, 429, 4, true),
            (Timeout, 4, 504, 4, true),
            (Unauthenticated, 16, 401, 5, false),
            (Unavailable, 14, 503, 4, true),
            (Unimplemented, 12, 400, 1, false),
        ];
        assert_eq!(expected.map(|(class, ..)| class), ErrorClass::ALL);
        for (class, grpc, http, exit, retry) in expected {
            assert_eq!(
                (class.grpc_code(), class.http_status(), class.exit() as u8, class.is_retryable()),
                (grpc, http, exit, retry),
                "{class:?}"
            );
        }
    }

    #[test]
    fn an_answer_says_its_class() {
        for class in ErrorClass::ALL {
            // On the wire a setting of ours that is wrong looks like a state that does not allow it.
            let seen = if class == Misconfigured { FailedPrecondition } else { class };
            assert_eq!(ErrorClass::of_grpc_code(class.grpc_code()), Some(seen));
            assert_eq!(ErrorClass::of_status(class.status()), Some(seen));
        }
        assert_eq!((ErrorClass::of_grpc_code(0), ErrorClass::of_status("OK")), (None, None));
    }
}
