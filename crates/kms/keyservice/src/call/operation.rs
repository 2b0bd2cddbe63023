use std::borrow::Cow;

use jiff::Timestamp;
use keystead_audit::{Destruction, Record, SafeFields};
use keystead_iam::Permission;
use keystead_model::ErrorClass;
use keystead_store::{Batch, Expect, Revision};

use super::audit_event;
use crate::ledger::{Fate, Uncommitted};
use crate::{Call, KeyService, KmsError, Resource};

/// One use case of the server: what it needs, and what it does once that is granted.
///
/// [`KeyService::run`] is the only way to have one done: it decides, lets [`Operation::perform`] act, and records.
pub trait Operation: Send + Sized {
    /// What the caller gets.
    type Output: Send;

    /// What it is called in the audit log.
    fn method(&self) -> Method;

    /// What the caller must be allowed; none: to be known is enough.
    fn permission(&self) -> Option<Permission>;

    /// What the permission is asked for.
    fn target(&self) -> Resource;

    /// What the audit log says of the request: never a plaintext, a key or a token.
    fn describe(&self) -> SafeFields {
        SafeFields::default()
    }

    /// Does it.
    fn perform(act: &mut Act<'_, Self>) -> impl Future<Output = Result<Self::Output, KmsError>> + Send;
}

/// A method of an API, as the audit log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Such as `cloudkms.googleapis.com`.
    pub service: &'static str,
    /// Such as `CreateKeyRing`.
    pub name: &'static str,
    /// Which log it belongs to.
    pub kind: MethodKind,
}

/// Kinds of method, as Cloud Audit Logs tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// Changes configuration or metadata.
    AdminWrite,
    /// Reads configuration or metadata.
    AdminRead,
    /// Uses a key.
    DataAccess,
    /// The server does it by itself.
    System,
}

impl Method {
    /// A method of Cloud KMS.
    pub const fn kms(name: &'static str, kind: MethodKind) -> Self {
        Self { service: "cloudkms.googleapis.com", name, kind }
    }
}

/// A command that was authorised, and the means to carry it out. Only [`KeyService::run`] makes one, after a decision.
pub struct Act<'a, C> {
    service: &'a KeyService,
    call: &'a Call,
    command: C,
    outcome: Outcome,
    conflicted: bool,
}

/// What the audit record says beyond the request.
#[derive(Default)]
pub(crate) struct Outcome {
    /// What the answer names, never what it reveals.
    pub(crate) response: SafeFields,
    /// Data access that this key does not record.
    pub(crate) unrecorded: bool,
    /// The resource that the record is about, where that is not the target.
    pub(crate) resource: Option<Cow<'static, str>>,
    /// A step towards the end of a version, which is counted.
    pub(crate) destruction: Option<Destruction>,
    /// A mutation is committed, and its record with it: the ledger sees to that one.
    pub(crate) committed: bool,
    /// What was decided of the permission; none: it never came to a decision.
    pub(crate) granted: Option<bool>,
    /// Nobody knows whether a mutation is committed. If it is, its record comes under the call's id.
    pub(crate) in_doubt: bool,
}

impl<'a, C: Operation> Act<'a, C> {
    pub(crate) fn new(service: &'a KeyService, call: &'a Call, command: C) -> Self {
        Self { service, call, command, outcome: Outcome::default(), conflicted: false }
    }

    pub(crate) fn command(&self) -> &C {
        &self.command
    }

    pub(crate) fn service(&self) -> &'a KeyService {
        self.service
    }

    pub(crate) fn call(&self) -> &'a Call {
        self.call
    }

    /// When the call came in.
    pub(crate) fn now(&self) -> Timestamp {
        self.call.time
    }

    /// What the audit record says of the answer.
    pub(crate) fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }

    /// The command, and what the audit record says beyond it.
    pub(crate) fn recorded(&self) -> (&C, &Outcome) {
        (&self.command, &self.outcome)
    }

    /// Commits a mutation together with its audit record. When somebody was faster, [`KeyService::run`] has the operation
    /// performed again from its start, so that it reads and plans anew.
    pub(crate) async fn commit(&mut self, batch: Batch) -> Result<Revision, KmsError> {
        let event = audit_event::of(self.call, &self.command, &self.outcome, None);
        let record = Record::of(&event);
        let replaces = batch.writes.iter().any(|write| matches!(write.expect, Expect::At(_)));
        match self.service.ledger.commit(batch, Some((self.call.id(), record))).await {
            Ok(committed) => {
                self.outcome.committed = true;
                committed.complete()
            }
            Err(Uncommitted { error, fate }) => {
                self.outcome.committed = fate == Fate::Written;
                self.outcome.in_doubt = fate == Fate::InDoubt;
                // A number that was taken meanwhile is a conflict; a name that was taken is the answer.
                let taken = error.class() == ErrorClass::AlreadyExists && replaces;
                self.conflicted = taken || error.class() == ErrorClass::Aborted;
                Err(error)
            }
        }
    }

    /// Has the operation performed again, because somebody was faster.
    pub(crate) fn start_over(&mut self, error: KmsError) -> KmsError {
        self.conflicted = true;
        error
    }

    /// Whether somebody was faster; forgets it and what the attempt has noted.
    pub(crate) fn take_conflict(&mut self) -> bool {
        let conflicted = std::mem::take(&mut self.conflicted);
        if conflicted {
            self.outcome = Outcome { granted: self.outcome.granted, ..Outcome::default() };
        }
        conflicted
    }
}
