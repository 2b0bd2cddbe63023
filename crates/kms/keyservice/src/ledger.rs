//! How a change happens: committed, known to all that is remembered, to the witness and to the audit log, as one unit that runs
//! to its end whoever waits for it. Read [`Ledger::commit`].

mod complete;
mod deliver;
mod destinations;
mod kept_versions;
mod outbox;
mod version_events;

use std::sync::Arc;

use keystead_audit::{AuditError, AuditLog, Record};
use keystead_model::ErrorClass;
use keystead_store::{Batch, Expect, Revision, Store, Write};

pub(crate) use destinations::{Destinations, KeptKey, KeptVersion};
pub(crate) use outbox::entry as outbox_entry;

use crate::KmsError;
use crate::remembered::Feed;
use crate::root::{Point, Witness};
use outbox::Outbox;

/// Delivered records that one commit deletes besides what it is for: a commit adds one, so this catches up and stays small.
const DELETED_WITH_A_COMMIT: usize = 16;

/// The only one who commits.
pub(crate) struct Ledger {
    store: Arc<dyn Store>,
    audit: Arc<AuditLog>,
    feed: Arc<Feed>,
    witness: Witness,
    destinations: Destinations,
    outbox: Outbox,
}

/// A commit that has happened.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) revision: Revision,
    /// Whether the witness knows it too.
    witnessed: Result<(), KmsError>,
    /// Whether its audit record is in the log.
    recorded: Result<(), KmsError>,
}

/// Why a commit was not made, as far as that is known.
#[derive(Debug)]
pub(crate) struct Uncommitted {
    pub(crate) error: KmsError,
    pub(crate) fate: Fate,
}

/// What became of a batch whose commit failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    NotWritten,
    /// Something failed afterwards. Its audit record is delivered later.
    Written,
    /// The store cannot be asked. If it was written, its audit record is delivered once it can.
    InDoubt,
}

/// The store does not say.
struct InDoubt;

impl<E: Into<KmsError>> From<E> for Uncommitted {
    fn from(error: E) -> Self {
        Self { error: error.into(), fate: Fate::NotWritten }
    }
}

impl Committed {
    /// Nobody is told of success before witness and audit log know it as well. What is missing comes later by itself.
    pub(crate) fn complete(self) -> Result<Revision, KmsError> {
        self.witnessed?;
        self.recorded?;
        Ok(self.revision)
    }
}

impl Ledger {
    /// A ledger of what is in the store. `server` names this server in its outbox records.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        audit: Arc<AuditLog>,
        feed: Arc<Feed>,
        witness: Witness,
        destinations: Destinations,
        server: String,
    ) -> Self {
        Self { store, audit, feed, witness, destinations, outbox: Outbox::new(server) }
    }

    /// Commits, with the audit record of the call in the outbox, and answers when everybody knows it who must. All this goes on
    /// when the caller has gone away.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        batch: Batch,
        recorded: Option<(&str, Record)>,
    ) -> Result<Committed, Uncommitted> {
        let recorded = recorded.map(|(call, record)| (self.outbox.name(call), record));
        let record = recorded.as_ref().map(|(name, _)| name.clone());
        let ledger = Arc::clone(self);
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends by itself, its result is wanted, its panic is one call's"
        )]
        let unit = tokio::spawn(async move { ledger.commit_to_the_end(batch, recorded).await });
        match unit.await {
            Ok(result) => result,
            Err(stopped) if stopped.is_cancelled() => {
                let text = "The server is stopping; whether the change was made shows when it runs again.";
                Err(Uncommitted { error: KmsError::new(ErrorClass::Unavailable, text), fate: Fate::InDoubt })
            }
            Err(_) => {
                let text = "The change failed in an unexpected way, and may have been made; the server's log says more.";
                let error = KmsError::new(ErrorClass::Bug, text);
                let fate = match self.find_out(record.as_deref()).await {
                    Ok(Some(_)) => Fate::Written,
                    Ok(None) => Fate::NotWritten,
                    Err(InDoubt) => Fate::InDoubt,
                };
                Err(Uncommitted { error, fate })
            }
        }
    }

    /// Whether a commit with this outbox record has happened, and which it was: the record stays until it is delivered. What is
    /// remembered is as new as the answer.
    async fn find_out(&self, record: Option<&str>) -> Result<Option<Revision>, InDoubt> {
        self.catch_up().await;
        let record = record.ok_or(InDoubt)?;
        let entry = self.store.get(record).await.map_err(|_| InDoubt)?;
        Ok(entry.map(|entry| entry.revision))
    }

    /// Returns when what is remembered is as new as the store.
    async fn catch_up(&self) {
        match self.store.changes(Revision(u64::MAX)).await {
            Ok(now) => self.feed.reach(now.up_to).await,
            Err(_) => self.feed.refresh(),
        }
    }

    async fn commit_to_the_end(
        &self,
        mut batch: Batch,
        recorded: Option<(String, Record)>,
    ) -> Result<Committed, Uncommitted> {
        self.witness.ready().await?;
        let versions = version_events::version_events(self.store.as_ref(), &batch).await?;
        let kept = self.destinations.kept_versions(self.store.as_ref(), &batch, &versions).await?;
        if let Err(error) = self.destinations.keep(&kept).await {
            // What other places have taken is of nobody.
            self.destinations.withdraw(&kept).await;
            return Err(error.into());
        }
        let written = kept_versions::written_versions(&batch)?;
        let deleted = self.outbox.take_delivered(DELETED_WITH_A_COMMIT);
        let deletions = deleted.names().iter();
        batch.writes.extend(deletions.map(|name| Write {
            name: name.clone(),
            expect: Expect::Any,
            value: None,
        }));
        // From here on somebody sees to it that the record is delivered if the batch is written, also after a panic.
        let owed = match recorded {
            Some((name, record)) => {
                batch = batch.put(name.clone(), outbox::entry(self.audit.head().sequence, &record)?);
                Some((self.outbox.owe(name), record))
            }
            None => None,
        };
        let _refresh = RefreshAfterPanic(&self.feed);
        let revision = match self.store.commit(batch).await {
            Ok(revision) => revision,
            Err(error) => {
                let nothing_written = [ErrorClass::Aborted, ErrorClass::AlreadyExists, ErrorClass::Invalid]
                    .contains(&error.class());
                let found = match nothing_written {
                    true => Ok(None),
                    false => self.find_out(owed.as_ref().map(|(owed, _)| owed.name())).await,
                };
                match found {
                    Ok(Some(revision)) => revision,
                    Ok(None) => {
                        if let Some((owed, _)) = owed {
                            owed.cancel();
                        }
                        self.destinations.withdraw(&kept).await;
                        return Err(Uncommitted { error: error.into(), fate: Fate::NotWritten });
                    }
                    Err(InDoubt) => {
                        self.destinations.doubt("a commit may have been written without them");
                        return Err(Uncommitted { error: error.into(), fate: Fate::InDoubt });
                    }
                }
            }
        };
        deleted.forget();
        self.feed.reach(revision).await;
        let witnessed = self.witness.advance(self.point(revision), versions).await;
        let recorded = match owed {
            Some((owed, record)) => match self.audit.append_record(record).await {
                Ok(_) => {
                    owed.settle();
                    Ok(())
                }
                Err(error) => Err(done_but_not_recorded(revision, &error)),
            },
            None => Ok(()),
        };
        // Last of all: a place that does not answer holds up no record, and is told the rest when it does.
        self.tell_destinations(&written).await;
        Ok(Committed { revision, witnessed, recorded })
    }

    /// Whether all that is remembered without being asked for is known; waits while it is being read and the store answers.
    pub(crate) async fn all_is_read(&self) -> bool {
        self.feed.all_is_read().await
    }

    pub(crate) fn witness(&self) -> &Witness {
        &self.witness
    }

    pub(crate) fn destinations(&self) -> &Destinations {
        &self.destinations
    }

    /// The point that a commit has brought.
    pub(crate) fn point(&self, revision: Revision) -> Point {
        let head = self.audit.head();
        Point { counter: revision.0, audit_sequence: head.sequence, audit_hash: head.hash }
    }
}

/// After a panic nobody may be there to say that something may have been written.
struct RefreshAfterPanic<'a>(&'a Feed);

impl Drop for RefreshAfterPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.refresh();
        }
    }
}

fn done_but_not_recorded(revision: Revision, error: &AuditError) -> KmsError {
    let number = revision.0;
    tracing::error!(commit = number, %error, "a change was made and cannot be recorded yet");
    KmsError::new(
        ErrorClass::Unavailable,
        format!(
            "The change was made (commit {number}), but the audit log cannot record it now. It is recorded as soon as the log can \
             be written; look before you repeat the call."
        ),
    )
}
