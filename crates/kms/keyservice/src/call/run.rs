use keystead_audit::{Record, RefusedCaller};
use keystead_model::ErrorClass;
use keystead_store::{Batch, Expect, Revision};

use super::{Outcome, audit_event};
use crate::ledger::{Fate, Uncommitted};
use crate::{Authorised, Call, KeyService, KmsError, Method, MethodKind, Operation};

/// How often a mutation starts over because somebody was faster. Each time somebody else has succeeded.
const MAX_ATTEMPTS: usize = 128;

impl KeyService {
    /// Authorises, acts and records one call. The record is durable before the answer.
    pub async fn run<O: Operation>(&self, call: &Call, command: O) -> Result<O::Output, KmsError> {
        self.run_named(call, "", command).await
    }

    /// The same for a request that names its target `named`; empty: as we do. A caller without the permission hears that name
    /// and no other, because ours may say more: the id of a project by its number, the owner of a token by its id.
    pub async fn run_named<O: Operation>(
        &self,
        call: &Call,
        named: &str,
        command: O,
    ) -> Result<O::Output, KmsError> {
        self.audit.admits(audit_event::kind(command.method().kind))?;
        let mut granted = None;
        let decided =
            self.authorise(call, command.permission(), &command.target(), named, &mut granted).await;
        let (result, command, outcome) = match decided {
            Ok(()) => {
                let mut authorised = Authorised::new(self, call, command, granted);
                let result = perform(&mut authorised).await;
                let (command, outcome) = authorised.recorded();
                (result, command, outcome)
            }
            Err(refused) => (Err(refused), command, Outcome { granted, ..Outcome::default() }),
        };
        // What has happened has its record, whatever came after.
        if !(outcome.committed || outcome.unrecorded && result.is_ok()) {
            let failure = result.as_ref().err();
            let unpermitted = unpermitted(command.method(), &outcome, failure);
            if unpermitted.is_none_or(|reason| !self.count_repeated(call, command.method(), reason)) {
                self.audit.append(&audit_event::of(call, &command, &outcome, failure)).await?;
            }
        }
        result
    }

    /// Records a call that was refused before it became a command: malformed, or not served.
    pub async fn record_refused(
        &self,
        call: &Call,
        method: Method,
        resource: &str,
        error: &KmsError,
    ) -> Result<(), KmsError> {
        if !self.count_repeated(call, method, "refused") {
            self.audit.append(&audit_event::refused(call, method, resource, error)).await?;
        }
        Ok(())
    }

    /// Whether a call without a permission is only counted, because its caller had many in this minute: whoever may do nothing
    /// must not be able to fill the disk with records of it.
    fn count_repeated(&self, call: &Call, method: Method, reason: &'static str) -> bool {
        let principal = call.caller.principal.email();
        self.audit.count_repeated(principal, call.time, reason, method.name)
    }

    /// Counts a request of a known caller that could not be read. It has no record of its own, because nothing of it is known.
    pub fn count_malformed(&self, call: &Call) {
        let principal = call.caller.principal.email().to_owned();
        self.audit.count_refusal(RefusedCaller::Principal(principal), call.time, "malformed");
    }
}

impl<O: Operation> Authorised<'_, O> {
    /// Commits a mutation together with its audit record. When somebody was faster, [`KeyService::run`] has the operation
    /// performed again from its start, so that it reads and plans anew.
    pub(crate) async fn commit(&mut self, batch: Batch) -> Result<Revision, KmsError> {
        let event = audit_event::of(self.call, &self.command, &self.outcome, None);
        let record = Record::of(&event);
        let batch = self.service.telling(batch, &self.outcome.events)?;
        let replaces = batch.writes.iter().any(|write| matches!(write.expect, Expect::At(_)));
        match self.service.ledger.commit(batch, Some((self.call.id(), record))).await {
            Ok(committed) => {
                self.outcome.committed = true;
                self.count_failure();
                committed.complete()
            }
            Err(Uncommitted { error, fate }) => {
                self.outcome.committed = fate == Fate::Written;
                if self.outcome.committed {
                    self.count_failure();
                }
                self.outcome.in_doubt = fate == Fate::InDoubt;
                // A number that was taken meanwhile is a conflict; a name that was taken is the answer.
                let taken = error.class() == ErrorClass::AlreadyExists && replaces;
                self.conflicted = taken || error.class() == ErrorClass::Aborted;
                Err(error)
            }
        }
    }
}

impl<O> Authorised<'_, O> {
    /// The commit has happened with which an operation of a cluster fails, if one does.
    fn count_failure(&mut self) {
        if let Some((task, reason)) = self.outcome.failed.take() {
            self.service.failed_operations.count(&task, reason);
        }
    }
}

/// Why a call counts as one for which its caller needs no permission; none: somebody has granted it, or it must have its record.
fn unpermitted(method: Method, outcome: &Outcome, failure: Option<&KmsError>) -> Option<&'static str> {
    match failure {
        _ if method.kind == MethodKind::System => None,
        _ if outcome.granted == Some(true) || outcome.issued => None,
        Some(error) if error.class() == ErrorClass::Denied => Some("denied"),
        Some(_) => Some("failed"),
        // What everybody may ask, such as TestIamPermissions.
        None if method.kind == MethodKind::AdminRead => Some("asked"),
        None => None,
    }
}

/// Performs an operation, from its start again while somebody else was faster.
async fn perform<O: Operation>(authorised: &mut Authorised<'_, O>) -> Result<O::Output, KmsError> {
    for _ in 0..MAX_ATTEMPTS {
        let result = O::perform(authorised).await;
        if !authorised.take_conflict() {
            return result;
        }
    }
    Err(KmsError::new(ErrorClass::Aborted, "Too many callers change this at the same time. Please retry."))
}
