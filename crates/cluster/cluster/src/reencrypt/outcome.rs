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
    /// A webhook or a policy refuses every change of it, or does not answer.
    AdmissionDenied,
    /// A check of the API server's own forbids it: a quota, an admission plugin, or rights that only who has them may give.
    Prohibited,
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
    /// No object, and all of them: the API server did not list them, or not to the end.
    NotListed,
    /// No object, and all of them: kube-controller-manager gave the migration up.
    NotMigrated,
}

impl Outcome {
    /// All, in the order of reports.
    pub const ALL: [Self; 15] = [
        Self::Rewritten,
        Self::Current,
        Self::ChangedMeanwhile,
        Self::Deleted,
        Self::AdmissionDenied,
        Self::Prohibited,
        Self::Immutable,
        Self::Invalid,
        Self::TerminatingNamespace,
        Self::Forbidden,
        Self::TooLarge,
        Self::Undecryptable,
        Self::Failed,
        Self::NotListed,
        Self::NotMigrated,
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
            Self::Prohibited => "prohibited",
            Self::Immutable => "immutable",
            Self::Invalid => "invalid today",
            Self::TerminatingNamespace => "namespace terminating",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too large",
            Self::Undecryptable => "undecryptable",
            Self::Failed => "failed",
            Self::NotListed => "not listed",
            Self::NotMigrated => "migration failed",
        }
    }

    /// What helps, for those that are not settled.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::Rewritten | Self::Current | Self::ChangedMeanwhile | Self::Deleted => return None,
            Self::AdmissionDenied => {
                "repair the webhook that does not answer, or exempt the user who runs this in the webhook or policy that denies, then \
                 run it again"
            }
            Self::Prohibited => {
                "see in the reason which check of the API server forbids it and meet that: raise the quota, or run this as a user who \
                 has all rights of the role; then run it again"
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
            Self::NotListed => {
                "see in the reason and in the API server's log why it cannot list them, then run it again"
            }
            Self::NotMigrated => {
                "the in-tree controller stops at the first object that it cannot write; without --via each such object is named and the others are written"
            }
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
    /// What the API server itself needs for it does not answer, such as the KMS plugin.
    Down,
    /// Nobody is there.
    Unreachable,
    /// The credentials are no longer taken.
    NoCredentials,
    /// etcd takes no more data.
    EtcdFull,
}

/// Judges a patch that did not succeed.
pub(super) fn judge_patch(error: &CallError, resource: &str, object: &str) -> Verdict {
    match error.refusal() {
        Some(refusal) if refusal.is_missing(resource, object) => Verdict::Final(Outcome::Deleted),
        _ => judge(error),
    }
}

/// Judges a call that did not succeed, whatever it was about.
pub(super) fn judge(error: &CallError) -> Verdict {
    let refusal = match error {
        CallError::Refused(refusal) => refusal,
        CallError::Timeout { .. } => return Verdict::Retry(Outcome::Failed),
        CallError::Transport { .. } => return Verdict::Unreachable,
        CallError::Credentials { .. } => return Verdict::NoCredentials,
        CallError::TooLong { .. } | CallError::Answer { .. } => return Verdict::Final(Outcome::Failed),
    };
    let says = |texts: &[&str]| texts.iter().any(|text| refusal.message.contains(text));
    // First: a webhook chooses its status and words itself.
    if says(ADMISSION) {
        return match refusal.status {
            500.. => Verdict::Retry(Outcome::AdmissionDenied),
            _ => Verdict::Final(Outcome::AdmissionDenied),
        };
    }
    if says(ETCD_FULL) {
        return Verdict::EtcdFull;
    }
    if refusal.status == 413 || says(TOO_LARGE) {
        return Verdict::Final(Outcome::TooLarge);
    }
    match refusal.status {
        401 => Verdict::NoCredentials,
        403 if says(&["cannot patch resource", "cannot list resource"]) => Verdict::Final(Outcome::Forbidden),
        403 if says(&["being terminated"]) => Verdict::Final(Outcome::TerminatingNamespace),
        403 => Verdict::Final(Outcome::Prohibited),
        409 => Verdict::Conflict,
        422 if says(&["immutable"]) => Verdict::Final(Outcome::Immutable),
        400 | 422 => Verdict::Final(Outcome::Invalid),
        429 => Verdict::Throttled(refusal.retry_after),
        500.. if says(DOWN) => Verdict::Down,
        500.. if says(UNDECRYPTABLE) => Verdict::Retry(Outcome::Undecryptable),
        500.. => Verdict::Retry(Outcome::Failed),
        _ => Verdict::Final(Outcome::Failed),
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

/// gRPC, by which kube-apiserver speaks with KMS plugins and etcd, and `ValidateEncryptCapability` of `envelope/kmsv2`, where a KMS
/// plugin has not answered for three minutes.
const DOWN: &[&str] =
    &["rpc error: code = Unavailable", "rpc error: code = DeadlineExceeded", "encryptedDEKSource with keyID"];

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
            (403, "secrets \"a\" is forbidden: exceeded quota", last(Outcome::Prohibited)),
            (
                403,
                "roles \"a\" is forbidden: user \"u\" is attempting to grant RBAC permissions not currently held",
                last(Outcome::Prohibited),
            ),
            (400, "the body is no patch", last(Outcome::Invalid)),
            (404, "404 page not found", last(Outcome::Failed)),
            (405, "the server does not allow this method on the requested resource", last(Outcome::Failed)),
            (415, "the body of the request was in an unknown format", last(Outcome::Failed)),
            (
                403,
                "admission webhook \"a.b\" denied the request: database space exceeded",
                last(Outcome::AdmissionDenied),
            ),
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
            (
                500,
                "Internal error occurred: unable to transform key \"/registry/secrets/n/a\": failed to decrypt DEK, error: rpc \
                 error: code = Unavailable desc = connection error",
                Verdict::Down,
            ),
            (
                500,
                "Internal error occurred: encryptedDEKSource with keyID hash \"sha256:6b\" expired at 2026-11-29",
                Verdict::Down,
            ),
            (503, "apiserver is shutting down", Verdict::Retry(Outcome::Failed)),
            (504, "etcdserver: request timed out", Verdict::Retry(Outcome::Failed)),
        ] {
            let refusal = Refusal { status, message: message.to_owned(), ..missing() };
            assert_eq!(judge(&CallError::Refused(Box::new(refusal))), meant, "{status} {message}");
        }
    }

    #[test]
    fn deleted_is_only_what_is_said_to_be_missing_itself() {
        let judged = |refusal| judge_patch(&CallError::Refused(Box::new(refusal)), "secrets", "a");
        assert_eq!(judged(missing()), Verdict::Final(Outcome::Deleted));
        let empty = String::new;
        for other in [
            Refusal { object: "b".to_owned(), ..missing() },
            Refusal { resource: "namespaces".to_owned(), ..missing() },
            Refusal { object: empty(), resource: empty(), ..missing() },
            Refusal { reason: empty(), ..missing() },
        ] {
            assert_eq!(judged(other.clone()), Verdict::Final(Outcome::Failed), "{other:?}");
        }
    }

    fn missing() -> Refusal {
        Refusal {
            request: String::new(),
            status: 404,
            reason: "NotFound".to_owned(),
            message: "secrets \"a\" not found".to_owned(),
            resource: "secrets".to_owned(),
            object: "a".to_owned(),
            retry_after: Some(Duration::from_secs(7)),
            continue_token: None,
        }
    }
}
