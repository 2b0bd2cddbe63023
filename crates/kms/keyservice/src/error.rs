use std::collections::BTreeMap;

use keystead_audit::AuditError;
use keystead_model::cluster::Busy;
use keystead_model::cluster::reencryption::UnknownReencryption;
use keystead_model::destruction::InUse;
use keystead_model::destruction::second_user::{NoConsent, Waiting};
use keystead_model::key_settings::InvalidSetting;
use keystead_model::listing::InvalidListing;
use keystead_model::rotation::InvalidSchedule;
use keystead_model::{ErrorClass, InvalidName, WrongState};
use keystead_store::StoreError;

/// Why a call was not done: a class, one text for the caller, and the details that clients of Google's APIs read.
///
/// The text says what was asked, what is wrong and what to do. It never holds a secret or the text of a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KmsError {
    class: ErrorClass,
    message: String,
    details: Vec<Detail>,
}

/// A detail of an error, as `google.rpc` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// `google.rpc.ErrorInfo`.
    ErrorInfo {
        /// Such as `IAM_PERMISSION_DENIED`.
        reason: String,
        /// Such as `cloudkms.googleapis.com`.
        domain: String,
        /// What the reason is about.
        metadata: BTreeMap<String, String>,
    },
    /// `google.rpc.PreconditionFailure` with one violation.
    PreconditionFailure {
        /// Such as `KEY_DISABLED`.
        kind: String,
        /// The name of the resource.
        subject: String,
        /// What is wrong.
        description: String,
    },
    /// `google.rpc.BadRequest` with one violation.
    BadRequest {
        /// The field, as gRPC names it.
        field: String,
        /// What is wrong.
        description: String,
    },
}

impl KmsError {
    /// An error without details.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), details: Vec::new() }
    }

    /// A malformed request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Invalid, message)
    }

    /// There is no such resource.
    pub fn not_found(kind: &str, name: impl std::fmt::Display) -> Self {
        Self::new(ErrorClass::NotFound, format!("{kind} {name} not found."))
    }

    /// The name is taken.
    pub fn already_exists(kind: &str, name: impl std::fmt::Display) -> Self {
        Self::new(ErrorClass::AlreadyExists, format!("{kind} {name} already exists."))
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }

    /// Decides code, status, exit code and whether to try again.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// For the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// For the caller's program.
    pub fn details(&self) -> &[Detail] {
        &self.details
    }
}

impl From<InvalidName> for KmsError {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<WrongState> for KmsError {
    fn from(error: WrongState) -> Self {
        let description = error.to_string();
        Self::new(error.class(), description.clone()).with(Detail::PreconditionFailure {
            kind: error.violation().to_owned(),
            subject: error.subject().to_string(),
            description,
        })
    }
}

impl From<Busy> for KmsError {
    fn from(error: Busy) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

impl From<InUse> for KmsError {
    fn from(error: InUse) -> Self {
        let description = error.to_string();
        Self::new(error.class(), description.clone()).with(Detail::PreconditionFailure {
            kind: error.violation().to_owned(),
            subject: error.version.to_string(),
            description,
        })
    }
}

impl From<Waiting> for KmsError {
    fn from(error: Waiting) -> Self {
        let description = error.to_string();
        Self::new(error.class(), description.clone()).with(Detail::PreconditionFailure {
            kind: error.violation().to_owned(),
            subject: error.version.to_string(),
            description,
        })
    }
}

impl From<NoConsent> for KmsError {
    fn from(error: NoConsent) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

impl From<InvalidSchedule> for KmsError {
    fn from(error: InvalidSchedule) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

impl From<keystead_iam::InvalidPolicy> for KmsError {
    fn from(error: keystead_iam::InvalidPolicy) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<InvalidListing> for KmsError {
    fn from(error: InvalidListing) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

impl From<InvalidSetting> for KmsError {
    fn from(error: InvalidSetting) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

impl From<UnknownReencryption> for KmsError {
    fn from(error: UnknownReencryption) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<StoreError> for KmsError {
    fn from(error: StoreError) -> Self {
        match error.class() {
            // The text of a conflict names a record, and a record's name is the resource's: safe.
            class @ (ErrorClass::Aborted | ErrorClass::AlreadyExists | ErrorClass::Invalid) => {
                Self::new(class, error.to_string())
            }
            ErrorClass::FailedPrecondition => {
                tracing::error!(%error, "the files of the database are not at their place");
                // To the caller it is an outage: a client would take a failed precondition for a key that is disabled.
                let text = "the files of the server's database were removed or replaced while it runs, so nothing is changed until they are \
                            back; the server's log says which and what to do";
                Self::new(ErrorClass::Unavailable, text)
            }
            class => {
                tracing::error!(%error, class = class.name(), "the store failed");
                Self::new(class, "the server's database cannot be used now; its log says why")
            }
        }
    }
}

impl From<AuditError> for KmsError {
    fn from(error: AuditError) -> Self {
        tracing::error!(%error, "the audit log failed");
        // Never Denied: a client would take that for a revocation.
        Self::new(ErrorClass::Unavailable, "the call cannot be recorded in the audit log, so it is not done")
    }
}
