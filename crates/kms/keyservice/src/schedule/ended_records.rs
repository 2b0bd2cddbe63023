//! Records of what ended long ago: they stay for a while, so that their owner is told what happened.

use jiff::{SignedDuration, Timestamp};
use keystead_model::ClusterOperation;
use keystead_model::destruction::second_user::{ForcedDestruction, REQUEST_COUNTS};
use keystead_store::{Batch, Entry};

use crate::records::certificate::CertificateState;
use crate::records::session::StoredSessions;
use crate::records::token::StoredToken;
use crate::records::{decode, record_name};
use crate::{KeyService, KmsError};

/// How long the record of a credential stays after its end: a quarter of a year.
const CREDENTIALS_KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The same of an operation of a cluster: the audit log knows longer.
const OPERATIONS_KEPT: SignedDuration = SignedDuration::from_hours(14 * 24);
/// The same of a notice for nobody: as long as one waits for a receiver.
const NOTICES_KEPT: SignedDuration = SignedDuration::from_hours(72);
/// Records that are read at once.
const READ: usize = 1000;
/// Records that are deleted with one commit.
const DELETED_TOGETHER: usize = 64;

impl KeyService {
    /// Deletes the records of tokens and certificates that ended long ago, and of sessions that ended. That a certificate was revoked is never forgotten:
    /// it would count again if the clock was wrong.
    pub(super) async fn forget_ended_credentials(&self) -> Result<(), KmsError> {
        let long_ago = self.before(CREDENTIALS_KEPT);
        let token_ended = |entry: &Entry| {
            let StoredToken { token, revoke_time, .. } = decode(&entry.name, &entry.value)?;
            Ok(revoke_time.into_iter().chain(token.expire_time).min())
        };
        let certificate_ended = |entry: &Entry| {
            let CertificateState { expire_time, revoke_time, .. } = decode(&entry.name, &entry.value)?;
            Ok(expire_time.filter(|_| revoke_time.is_none()))
        };
        let sessions_ended = |entry: &Entry| {
            let sessions: StoredSessions = decode(&entry.name, &entry.value)?;
            Ok(Some(sessions.last_end().unwrap_or(Timestamp::MIN)))
        };
        self.forget_ended(record_name::TOKENS, long_ago, token_ended).await?;
        self.forget_ended(record_name::SESSIONS, self.clock.now(), sessions_ended).await?;
        self.forget_ended(record_name::CERTIFICATES, long_ago, certificate_ended).await
    }

    /// Deletes the records of operations of clusters that ended a while ago.
    pub(super) async fn forget_ended_operations(&self) -> Result<(), KmsError> {
        let ended = |entry: &Entry| {
            let operation: ClusterOperation = decode(&entry.name, &entry.value)?;
            Ok(operation.end.map(|end| end.time))
        };
        self.forget_ended(record_name::CLUSTER_OPERATIONS, self.before(OPERATIONS_KEPT), ended).await
    }

    /// Deletes notices for webhooks that are in no setting any more: one that is taken out and put back loses nothing meanwhile.
    pub(super) async fn forget_notices_of_nobody(&self) -> Result<(), KmsError> {
        let written = |entry: &Entry| {
            let place = entry.name.strip_prefix(record_name::NOTICES).and_then(|it| it.split_once('/'));
            let (webhook, id) = place.unwrap_or_default();
            if self.settings.webhooks.iter().any(|it| it.name == webhook) {
                return Ok(None);
            }
            let written = id.split('-').next().and_then(|millisecond| millisecond.parse().ok());
            let written = written.and_then(|it| Timestamp::from_millisecond(it).ok());
            Ok(Some(written.unwrap_or(Timestamp::MIN)))
        };
        self.forget_ended(record_name::NOTICES, self.before(NOTICES_KEPT), written).await
    }

    /// Deletes requests for a destruction to which nobody has agreed in time.
    pub(super) async fn forget_old_requests(&self) -> Result<(), KmsError> {
        let ended = |entry: &Entry| {
            let request: ForcedDestruction = decode(&entry.name, &entry.value)?;
            Ok(Some(request.request_time).filter(|_| request.approved_by.is_none()))
        };
        self.forget_ended(record_name::FORCED_DESTRUCTIONS, self.before(REQUEST_COUNTS), ended).await
    }

    fn before(&self, kept: SignedDuration) -> Timestamp {
        self.clock.now().checked_sub(kept).unwrap_or(Timestamp::MIN)
    }

    async fn forget_ended(
        &self,
        prefix: &str,
        long_ago: Timestamp,
        ended: impl Fn(&Entry) -> Result<Option<Timestamp>, KmsError>,
    ) -> Result<(), KmsError> {
        let mut after = String::new();
        loop {
            let entries = self.store.list(prefix, &after, READ).await?;
            let mut gone = Vec::new();
            for entry in &entries {
                if ended(entry)?.is_some_and(|end| end < long_ago) {
                    gone.push(entry);
                }
            }
            for together in gone.chunks(DELETED_TOGETHER) {
                let delete = |batch: Batch, entry: &&Entry| batch.delete(entry.name.clone(), entry.revision);
                let batch = together.iter().fold(Batch::default(), delete);
                self.ledger.commit(batch, None).await.map_err(|it| it.error)?.complete()?;
            }
            match entries.last() {
                Some(last) if entries.len() == READ => after.clone_from(&last.name),
                _ => return Ok(()),
            }
        }
    }
}
