use std::borrow::Cow;

use jiff::Timestamp;
use keystead_audit::{Destruction, SafeFields};
use keystead_model::ClusterOperation;
use keystead_model::cluster::Task;

use crate::records::notice::{Event, EventKind};
use crate::service::FailureReason;
use crate::{Call, KeyService, KmsError};

/// A command that was authorised, and the means to carry it out. Only [`KeyService::run`] makes one, after a decision.
pub struct Authorised<'a, O> {
    pub(super) service: &'a KeyService,
    pub(super) call: &'a Call,
    pub(super) command: O,
    pub(super) outcome: Outcome,
    pub(super) conflicted: bool,
}

/// What the audit record says beyond the request.
#[derive(Default)]
pub(crate) struct Outcome {
    /// What the answer names, never what it reveals.
    pub(crate) response: SafeFields,
    /// The schedule looked and changed nothing, which is no call of anybody.
    pub(crate) unrecorded: bool,
    /// A credential was given out, which has a record however many there are.
    pub(crate) issued: bool,
    /// The resource that the record is about, where that is not the target.
    pub(crate) resource: Option<Cow<'static, str>>,
    /// What receivers of webhooks are told with the commit.
    pub(crate) events: Vec<Event>,
    /// An operation of a cluster fails with the commit, which is counted.
    pub(crate) failed: Option<(Task, FailureReason)>,
    /// A step towards the end of a version, which is counted.
    pub(crate) destruction: Option<Destruction>,
    /// A mutation is committed, and its record with it: the ledger sees to that one.
    pub(crate) committed: bool,
    /// What was decided of the permission; none: it never came to a decision.
    pub(crate) granted: Option<bool>,
    /// Nobody knows whether a mutation is committed. If it is, its record comes under the call's id.
    pub(crate) in_doubt: bool,
}

impl<'a, O> Authorised<'a, O> {
    /// `granted`: what was decided; none: there was nothing to decide.
    pub(super) fn new(service: &'a KeyService, call: &'a Call, command: O, granted: Option<bool>) -> Self {
        Self { service, call, command, outcome: Outcome { granted, ..Outcome::default() }, conflicted: false }
    }

    pub(crate) fn command(&self) -> &O {
        &self.command
    }

    pub(crate) fn service(&self) -> &'a KeyService {
        self.service
    }

    pub(crate) fn call(&self) -> &'a Call {
        self.call
    }

    /// Who calls, by the address.
    pub(crate) fn caller(&self) -> &'a str {
        self.call.caller().principal.email()
    }

    /// When the call came in.
    pub(crate) fn now(&self) -> Timestamp {
        self.call.time
    }

    /// What the audit record says of the answer.
    pub(crate) fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }

    /// Has receivers of webhooks told, with the commit that follows.
    pub(crate) fn tell(&mut self, kind: EventKind, resource: impl ToString, text: impl Into<String>) {
        self.outcome.events.push(Event::new(kind, resource, text));
    }

    /// The commit that follows ends an operation that did not do what it was for: counted, and told.
    pub(crate) fn tell_failure(
        &mut self,
        operation: &ClusterOperation,
        reason: FailureReason,
        message: &str,
    ) {
        self.outcome.failed = Some((operation.task.clone(), reason));
        let text = format!("On cluster {}: {message}", operation.cluster);
        self.tell(EventKind::OperationFailed, &operation.name, text);
    }

    /// The command, and what the audit record says beyond it.
    pub(super) fn recorded(self) -> (O, Outcome) {
        (self.command, self.outcome)
    }

    /// Has the operation performed again, because somebody was faster.
    pub(crate) fn start_over(&mut self, error: KmsError) -> KmsError {
        self.conflicted = true;
        error
    }

    /// Whether somebody was faster; forgets it and what the attempt has noted.
    pub(super) fn take_conflict(&mut self) -> bool {
        let conflicted = std::mem::take(&mut self.conflicted);
        if conflicted {
            self.outcome = Outcome { granted: self.outcome.granted, ..Outcome::default() };
        }
        conflicted
    }
}
