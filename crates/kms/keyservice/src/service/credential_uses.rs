//! When and from where tokens and certificates were last used: noted in memory with every call, written aside and seldom.

use keystead_model::ErrorClass;
use keystead_store::Batch;

use crate::records::certificate::CertificateState;
use crate::records::token::StoredToken;
use crate::records::{Stored, encode, record_name};
use crate::remembered::is_stale;
use crate::{KeyService, KmsError, LastUse};

/// Credentials whose uses are written with one commit.
const WRITTEN_TOGETHER: usize = 64;

impl KeyService {
    /// Writes the uses of tokens and certificates that the store does not know yet, each at most once an hour. The schedule
    /// calls it.
    pub(crate) async fn write_credential_uses(&self) -> Result<(), KmsError> {
        for together in self.remembered.credential_uses.due(self.clock.now()).chunks(WRITTEN_TOGETHER) {
            self.write_credential_uses_together(together).await?;
        }
        Ok(())
    }

    async fn write_credential_uses_together(&self, uses: &[(String, LastUse)]) -> Result<(), KmsError> {
        let known = &self.remembered.credential_uses;
        let mut batch = Batch::default();
        let mut written = Vec::new();
        for (record, now) in uses {
            let Some(Stored { value, revision }) = self.read_credential(record).await? else {
                known.stored(record, None);
                continue;
            };
            match value.last_use() {
                Some(stored) if !is_stale(stored.time, now.time) => known.stored(record, Some(stored.time)),
                _ => {
                    batch = batch.replace(record.clone(), revision, value.used(*now)?);
                    written.push((record, now.time));
                }
            }
        }
        if batch.writes.is_empty() {
            return Ok(());
        }
        match self.ledger.commit(batch, None).await {
            Ok(committed) => committed.complete()?,
            // Somebody has revoked one of them meanwhile. The next look writes the others.
            Err(uncommitted) if uncommitted.error.class() == ErrorClass::Aborted => return Ok(()),
            Err(uncommitted) => return Err(uncommitted.error),
        };
        for (record, time) in written {
            known.stored(record, Some(time));
        }
        Ok(())
    }

    async fn read_credential(&self, record: &str) -> Result<Option<Stored<StoredCredential>>, KmsError> {
        let in_kind = |value, revision| Stored { value, revision };
        if record.starts_with(record_name::TOKENS) {
            let stored = self.read(record).await?;
            return Ok(stored.map(|it| in_kind(StoredCredential::Token(it.value), it.revision)));
        }
        let stored = self.read(record).await?;
        Ok(stored.map(|it| in_kind(StoredCredential::Certificate(it.value), it.revision)))
    }
}

/// A record that has a last use.
enum StoredCredential {
    Token(StoredToken),
    Certificate(CertificateState),
}

impl StoredCredential {
    fn last_use(&self) -> Option<LastUse> {
        match self {
            Self::Token(stored) => stored.token.last_use,
            Self::Certificate(state) => state.last_use,
        }
    }

    /// The record with another last use.
    fn used(self, now: LastUse) -> Result<Vec<u8>, KmsError> {
        match self {
            Self::Token(mut stored) => {
                stored.token.last_use = Some(now);
                encode(&stored)
            }
            Self::Certificate(mut state) => {
                state.last_use = Some(now);
                encode(&state)
            }
        }
    }
}
