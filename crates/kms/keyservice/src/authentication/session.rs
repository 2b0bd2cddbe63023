use std::sync::Arc;

use jiff::Timestamp;
use keystead_model::{Principal, to_microseconds};
use keystead_store::Batch;

use crate::identity::refusal;
use crate::records::session::{Cookie, Session, StoredSessions};
use crate::records::{encode, record_name};
use crate::{Credential, KeyService, KmsError, LastUse, Origin};

impl KeyService {
    /// Who has the cookie of a session. It counts as long as the token with which it began.
    pub(super) async fn session(
        &self,
        text: &str,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(Principal, Credential), KmsError> {
        let cookie = Cookie::parse(text).ok_or_else(refusal::invalid)?;
        let session = self.find_session(&cookie).await?;
        if session.expire_time() <= now {
            return Err(refusal::expired("the session"));
        }
        let token = self.known_token(&session.token_id).await?.ok_or_else(refusal::invalid)?;
        self.require_current(&token, now).await?;
        if session.is_stale(now) {
            self.note_session_use(&cookie.principal, &session.id, origin, now).await;
        }
        Ok((cookie.principal, Credential::Session(session.id)))
    }

    async fn find_session(&self, cookie: &Cookie<'_>) -> Result<Session, KmsError> {
        let record = record_name::sessions(&cookie.principal);
        let cache = &self.remembered.sessions;
        if let Some(stored) = cache.get(&record) {
            return stored.of_cookie(cookie).cloned().ok_or_else(refusal::invalid);
        }
        let read_after = cache.epoch();
        let stored = self.read::<StoredSessions>(&record).await?.ok_or_else(refusal::invalid)?;
        let stored = Arc::new(stored.value);
        let session = stored.of_cookie(cookie).cloned().ok_or_else(refusal::invalid)?;
        // Whoever guesses pushes nothing out.
        cache.keep(&record, &stored, read_after);
        Ok(session)
    }

    /// A store that takes no changes ends no session before its time.
    async fn note_session_use(&self, principal: &Principal, id: &str, origin: &Origin, now: Timestamp) {
        let last_use = LastUse { time: to_microseconds(now), address: origin.address };
        if let Err(error) = self.write_session_use(principal, id, last_use).await {
            tracing::warn!(%error, "the use of a session could not be written");
        }
    }

    async fn write_session_use(&self, principal: &Principal, id: &str, now: LastUse) -> Result<(), KmsError> {
        let record = record_name::sessions(principal);
        let Some(mut stored) = self.read::<StoredSessions>(&record).await? else { return Ok(()) };
        if !stored.value.used(id, now) {
            return Ok(());
        }
        let batch = Batch::default().replace(record, stored.revision, encode(&stored.value)?);
        match self.ledger.commit(batch, None).await {
            Ok(committed) => committed.complete().map(drop),
            // Another session of the same principal was faster; the next request tries again.
            Err(uncommitted) if uncommitted.error.class() == keystead_model::ErrorClass::Aborted => Ok(()),
            Err(uncommitted) => Err(uncommitted.error),
        }
    }
}
