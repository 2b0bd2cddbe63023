use keystead_audit::{Record, RefusedCaller};
use keystead_model::ErrorClass;
use keystead_store::{Batch, Expect, Revision};

use super::audit_event;
use crate::ledger::{Fate, Uncommitted};
use crate::{Act, Call, KeyService, KmsError, Method, Operation};

/// How often a mutation starts over because somebody was faster. Each time somebody else has succeeded.
const MAX_ATTEMPTS: usize = 128;

impl KeyService {
    /// Authorises, acts and records one call. The record is durable before the answer.
    pub async fn run<C: Operation>(&self, call: &Call, command: C) -> Result<C::Output, KmsError> {
        self.audit.admits(audit_event::kind(command.method().kind))?;
        let (permission, target) = (command.permission(), command.target());
        let mut act = Act::new(self, call, command);
        let result = match self.authorise(call, permission, &target, &mut act.outcome().granted).await {
            Ok(()) => perform(&mut act).await,
            Err(refused) => Err(refused),
        };
        let (command, outcome) = act.recorded();
        // What has happened has its record, whatever came after.
        if !(outcome.committed || outcome.unrecorded && result.is_ok()) {
            let event = audit_event::of(call, command, outcome, result.as_ref().err());
            self.audit.append(&event).await?;
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
        self.audit.append(&audit_event::refused(call, method, resource, error)).await?;
        Ok(())
    }

    /// Counts a request of a known caller that could not be read. It has no record of its own, because nothing of it is known.
    pub fn count_malformed(&self, call: &Call) {
        let principal = call.caller.principal.email().to_owned();
        self.audit.count_refusal(RefusedCaller::Principal(principal), call.time, "malformed");
    }
}

impl<C: Operation> Act<'_, C> {
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
}

/// Performs an operation, from its start again while somebody else was faster.
async fn perform<C: Operation>(act: &mut Act<'_, C>) -> Result<C::Output, KmsError> {
    for _ in 0..MAX_ATTEMPTS {
        let result = C::perform(act).await;
        if !act.take_conflict() {
            return result;
        }
    }
    Err(KmsError::new(ErrorClass::Aborted, "Too many callers change this at the same time. Please retry."))
}
