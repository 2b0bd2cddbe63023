use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use keystead_audit::{Record, SafeFields};
use keystead_iam::Permission;
use keystead_model::{CryptoKeyVersion, ErrorClass};
use keystead_store::{Batch, StoreError};
use serde::{Deserialize, Serialize};

use crate::call::{Outcome, audit_event};
use crate::ledger::{Fate, Ledger, Uncommitted};
use crate::records::{decode, encode, record_name};
use crate::{Authorised, Call, Clock, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Backups that are read at once.
const PAGE: usize = 1000;

/// Writes a consistent copy of the database, without the root key.
pub struct CreateBackup {
    /// Who writes it, and where.
    pub into: Arc<dyn BackupStore>,
}

/// Writes copies of the database into a place that the configuration names.
pub trait BackupStore: Send + Sync {
    /// Writes a copy under a new file name, durably. Calls go on meanwhile.
    fn backup<'a>(&'a self, name: &'a str) -> PendingBackup<'a>;
}

/// A backup that is being written.
pub type PendingBackup<'a> = Pin<Box<dyn Future<Output = Result<BackupCopy, StoreError>> + Send + 'a>>;

/// A copy that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupCopy {
    /// The newest commit that is in it.
    pub revision: u64,
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The name of its file.
    pub name: String,
    /// When it was complete: what was made before may be in it.
    pub create_time: Timestamp,
    /// The newest commit that is in it.
    pub revision: u64,
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

impl Operation for CreateBackup {
    type Output = Backup;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "CreateBackup", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::BackupsCreate)
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Backup, KmsError> {
        let id = authorised.service().random_bytes::<4>()?;
        let name = format!("keystead-{}-{}.db", authorised.now().strftime("%Y%m%dT%H%M%SZ"), hex::encode(id));
        let unit = Unit {
            name,
            into: Arc::clone(&authorised.command().into),
            call: authorised.call().clone(),
            outcome: Outcome { granted: authorised.outcome().granted, ..Outcome::default() },
            ledger: Arc::clone(&authorised.service().ledger),
            clock: Arc::clone(&authorised.service().clock),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends by itself, its result is wanted, its panic is one call's"
        )]
        let done = tokio::spawn(unit.carry_out()).await;
        let failed = || {
            KmsError::new(
                ErrorClass::Bug,
                "the backup failed in an unexpected way; the server's log says more",
            )
        };
        let (made, fate) = match done.map_err(|_| failed())? {
            Ok(committed) => (Ok(committed), Fate::Written),
            Err(Uncommitted { error, fate }) => (Err(error), fate),
        };
        authorised.outcome().committed = fate == Fate::Written;
        authorised.outcome().in_doubt = fate == Fate::InDoubt;
        made
    }
}

/// Copy, record and audit record: they go on when the caller has gone away, because a copy that nobody knows of holds keys
/// after their destruction.
struct Unit {
    name: String,
    into: Arc<dyn BackupStore>,
    call: Call,
    outcome: Outcome,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
}

impl Unit {
    async fn carry_out(mut self) -> Result<Backup, Uncommitted> {
        let copy = self.into.backup(&self.name).await?;
        let backup = Backup {
            name: self.name,
            create_time: self.clock.now(),
            revision: copy.revision,
            size_bytes: copy.size_bytes,
            sha256: hex::encode(copy.sha256),
        };
        self.outcome.response = SafeFields::new()
            .with("name", backup.name.as_str())
            .with("sha256", backup.sha256.as_str())
            .with("revision", i64::try_from(backup.revision).unwrap_or(i64::MAX));
        let event = audit_event::of(&self.call, &CreateBackup { into: self.into }, &self.outcome, None);
        let record = Some((self.call.id(), Record::of(&event)));
        // Known from now on, so that a destruction can say which backups still hold the version.
        let batch = Batch::default().create(record_name::backup(&backup.name), encode(&backup)?);
        let committed = self.ledger.commit(batch, record).await?;
        let written = |error| Uncommitted { error, fate: Fate::Written };
        committed.complete().map(|_| backup).map_err(written)
    }
}

impl KeyService {
    /// The backups that still hold a version which is destroyed now: those that were made since it was. Whoever has one of
    /// them and the root key has the key.
    pub(crate) async fn backups_that_hold(
        &self,
        version: &CryptoKeyVersion,
    ) -> Result<Vec<String>, KmsError> {
        let mut names = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.store.list(record_name::BACKUPS, &after, PAGE).await?;
            for entry in &page {
                let backup: Backup = decode(&entry.name, &entry.value)?;
                if backup.create_time >= version.create_time {
                    names.push(backup.name);
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.name),
                _ => return Ok(names),
            }
        }
    }
}

#[cfg(test)]
mod tests;
