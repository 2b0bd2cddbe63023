//! What became of one object, judged by the API server's answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::CallError;

/// What became of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was stale and is stored anew. In the first pass also one that somebody else wrote between list and patch.
    Rewritten,
    /// It is stored as the API server writes now; nothing was written.
    Current,
    /// Others wrote it again and again meanwhile, each time as their API server writes now.
    ChangedMeanwhile,
    /// It was deleted meanwhile.
    Deleted,
    /// A webhook or a policy refuses every change of it.
    AdmissionDenied,
    /// A field of it may not change, and the API server takes the patch for a change.
    Immutable,
    /// It breaks a rule of today that did not exist when it was written.
    Invalid,
    /// Its namespace is being deleted.
    TerminatingNamespace,
    /// Who runs this may not patch it.
    Forbidden,
    /// It does not fit into etcd any more.
    TooLarge,
    /// The API server cannot read what is stored.
    Undecryptable,
    /// The API server failed or did not answer, each time.
    Failed,
}

impl Outcome {
    /// All, in the order of reports.
    pub const ALL: [Self; 12] = [
        Self::Rewritten,
        Self::Current,
        Self::ChangedMeanwhile,
        Self::Deleted,
        Self::AdmissionDenied,
        Self::Immutable,
        Self::Invalid,
        Self::TerminatingNamespace,
        Self::Forbidden,
        Self::TooLarge,
        Self::Undecryptable,
        Self::Failed,
    ];

    /// Whether nothing is left to do for the object.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Rewritten | Self::Current | Self::ChangedMeanwhile | Self::Deleted)
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rewritten => "rewritten",
            Self::Current => "already current",
            Self::ChangedMeanwhile => "changed meanwhile",
            Self::Deleted => "deleted meanwhile",
            Self::AdmissionDenied => "denied by admission",
            Self::Immutable => "immutable",
            Self::Invalid => "invalid today",
            Self::TerminatingNamespace => "namespace terminating",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too large",
            Self::Undecryptable => "undecryptable",
            Self::Failed => "failed",
        }
    }

    /// What helps, for those that are not settled.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::Rewritten | Self::Current | Self::ChangedMeanwhile | Self::Deleted => return None,
            Self::AdmissionDenied => {
                "exempt the user who runs this in the webhook or policy, then run it again"
            }
            Self::Immutable | Self::Invalid => {
                "correct the object, or delete it and create it again, then run it again"
            }
            Self::TerminatingNamespace => {
                "find what holds the namespace up (its finalizers), then run it again"
            }
            Self::Forbidden => "grant the verbs list and patch on it, then run it again",
            Self::TooLarge => "make the object smaller, then run it again",
            Self::Undecryptable => {
                "give the API server back the provider and key that wrote it, or delete the object, then run it again"
            }
            Self::Failed => "look into the API server's log, then run it again",
        })
    }
}

/// What an error means for the object and for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same answer would come again.
    Final(Outcome),
    /// Somebody else was faster.
    Conflict,
    /// Everybody waits.
    Throttled(Option<Duration>),
    /// Another attempt may do; without success it is this.
    Retry(Outcome),
    /// Nobody is there.
    Unreachable,
    /// The credentials are no longer taken.
    NoCredentials,
    /// etcd takes no more data.
    EtcdFull,
}

/// Judges a patch that did not succeed, or a list.
pub(super) fn judge(error: &CallError) -> Verdict {
    let refusal = match error {
        CallError::Refused(refusal) => refusal,
        CallError::Timeout { .. } => return Verdict::Retry(Outcome::Failed),
        CallError::Transport { .. } => return Verdict::Unreachable,
        CallError::Credentials { .. } => return Verdict::NoCredentials,
        CallError::TooLong { .. } | CallError::Answer { .. } => return Verdict::Final(Outcome::Failed),
    };
    let says = |texts: &[&str]| texts.iter().any(|text| refusal.message.contains(text));
    if says(ETCD_FULL) {
        return Verdict::EtcdFull;
    }
    if refusal.status == 413 || says(TOO_LARGE) {
        return Verdict::Final(Outcome::TooLarge);
    }
    // A webhook chooses its status itself.
    if says(ADMISSION) {
        return match refusal.status {
            500.. => Verdict::Retry(Outcome::AdmissionDenied),
            _ => Verdict::Final(Outcome::AdmissionDenied),
        };
    }
    match refusal.status {
        401 => Verdict::NoCredentials,
        403 if says(&["cannot patch resource", "cannot list resource"]) => Verdict::Final(Outcome::Forbidden),
        403 if says(&["being terminated"]) => Verdict::Final(Outcome::TerminatingNamespace),
        // Whatever else is forbidden was forbidden by an admission plugin.
        403 => Verdict::Final(Outcome::AdmissionDenied),
        404 => Verdict::Final(Outcome::Deleted),
        409 => Verdict::Conflict,
        422 if says(&["immutable"]) => Verdict::Final(Outcome::Immutable),
        429 => Verdict::Throttled(refusal.retry_after),
        500.. if says(UNDECRYPTABLE) => Verdict::Retry(Outcome::Undecryptable),
        500.. => Verdict::Retry(Outcome::Failed),
        _ => Verdict::Final(Outcome::Invalid),
    }
}

/// etcd's `ErrNoSpace`.
const ETCD_FULL: &[&str] = &["database space exceeded"];

/// etcd's `ErrRequestTooLarge`, the limit of its gRPC messages, and kube-apiserver's limit of an object after a patch.
const TOO_LARGE: &[&str] = &[
    "etcdserver: request is too large",
    "trying to send message larger than max",
    "Request entity too large",
];

/// `webhook/errors/statuserror.go`, `validatingadmissionpolicy`, and a webhook that does not answer (`ErrCallingWebhook`).
const ADMISSION: &[&str] = &[
    "admission webhook ",
    "ValidatingAdmissionPolicy ",
    "failed calling webhook",
    "MutatingAdmissionPolicy ",
];

/// `storage/value` and `etcd3` in k8s.io/apiserver.
const UNDECRYPTABLE: &[&str] =
    &["unable to transform", "failed to decrypt", "no matching prefix found", "StorageError: corrupt object"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Refusal;

    #[test]
    fn each_answer_has_one_meaning() {
        let last = Verdict::Final;
        for (status, message, meant) in [
            (400, "admission webhook \"a.b\" denied the request: no", last(Outcome::AdmissionDenied)),
            (401, "Unauthorized", Verdict::NoCredentials),
            (
                403,
                "secrets \"a\" is forbidden: User \"u\" cannot patch resource \"secrets\" in API group \"\" in the namespace \"n\"",
                last(Outcome::Forbidden),
            ),
            (
                403,
                "secrets \"a\" is forbidden: unable to create new content in namespace n because it is being terminated",
                last(Outcome::TerminatingNamespace),
            ),
            (403, "secrets \"a\" is forbidden: exceeded quota", last(Outcome::AdmissionDenied)),
            (404, "secrets \"a\" not found", last(Outcome::Deleted)),
            (409, "the object has been modified", Verdict::Conflict),
            (413, "limit is 3145728", last(Outcome::TooLarge)),
            (
                422,
                "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                last(Outcome::AdmissionDenied),
            ),
            (
                422,
                "Secret \"a\" is invalid: type: Invalid value: field is immutable",
                last(Outcome::Immutable),
            ),
            (422, "Secret \"a\" is invalid: data[x]: Required value", last(Outcome::Invalid)),
            (429, "too many requests", Verdict::Throttled(Some(Duration::from_secs(7)))),
            (500, "etcdserver: request is too large", last(Outcome::TooLarge)),
            (500, "etcdserver: mvcc: database space exceeded", Verdict::EtcdFull),
            (
                500,
                "Internal error occurred: unable to transform key \"/registry/secrets/n/a\": no matching prefix found",
                Verdict::Retry(Outcome::Undecryptable),
            ),
            (
                500,
                "Internal error occurred: failed calling webhook \"a.b\": connection refused",
                Verdict::Retry(Outcome::AdmissionDenied),
            ),
            (503, "apiserver is shutting down", Verdict::Retry(Outcome::Failed)),
            (504, "etcdserver: request timed out", Verdict::Retry(Outcome::Failed)),
        ] {
            let refusal = Refusal {
                request: String::new(),
                status,
                reason: String::new(),
                message: message.to_owned(),
                retry_after: Some(Duration::from_secs(7)),
                continue_token: None,
            };
            assert_eq!(judge(&CallError::Refused(Box::new(refusal))), meant, "{status} {message}");
        }
    }
}
