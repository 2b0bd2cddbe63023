//! What fails or panics after the store has committed does not undo the change, and loses nothing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keystead_model::ErrorClass;
use keystead_store::{Batch, Changes, Entry, Pending, Revision, Store};

use super::keys::{decrypts, encrypt};
use crate::operations::*;
use crate::records::record_name;
use crate::testbed::{Testbed, key_name, version_name};
use crate::*;

/// A store that does as it is told, until it misbehaves.
pub(super) struct Misbehaving {
    pub(super) inner: Arc<dyn Store>,
    pub(super) faults: Arc<Faults>,
}

#[derive(Default)]
pub(super) struct Faults {
    /// Once: a commit is refused, and nothing is written.
    pub(super) refuses: AtomicBool,
    /// A commit panics after it has been written.
    panics: AtomicBool,
    /// A commit is written, and its caller is told that nobody knows.
    forgets: AtomicBool,
    /// The outbox cannot be read.
    is_away: AtomicBool,
    /// How far it is can be asked for, and not what was changed.
    pub(super) is_silent: AtomicBool,
    /// Once: it is too long ago for the store to know what was changed.
    pub(super) has_no_history: AtomicBool,
}

fn fails<T>() -> Result<T, keystead_store::StoreError> {
    Err(keystead_store::StoreError::new(ErrorClass::Unavailable, "the disk is away"))
}

impl Store for Misbehaving {
    fn get<'a>(&'a self, name: &'a str) -> Pending<'a, Option<Entry>> {
        if name.starts_with(record_name::OUTBOX) && self.faults.is_away.load(Ordering::SeqCst) {
            return Box::pin(async { fails() });
        }
        self.inner.get(name)
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> Pending<'a, Vec<Entry>> {
        self.inner.list(prefix, after, limit)
    }

    fn count<'a>(&'a self, prefix: &'a str) -> Pending<'a, u64> {
        self.inner.count(prefix)
    }

    fn commit(&self, batch: Batch) -> Pending<'_, Revision> {
        Box::pin(async move {
            if self.faults.refuses.swap(false, Ordering::SeqCst) {
                return Err(keystead_store::StoreError::new(ErrorClass::Invalid, "refused on purpose"));
            }
            let revision = self.inner.commit(batch).await?;
            assert!(!self.faults.panics.swap(false, Ordering::SeqCst), "a fault on purpose");
            if self.faults.forgets.swap(false, Ordering::SeqCst) { fails() } else { Ok(revision) }
        })
    }

    fn changes(&self, since: Revision) -> Pending<'_, Changes> {
        if since != Revision(u64::MAX) && self.faults.is_silent.load(Ordering::SeqCst) {
            return Box::pin(async { fails() });
        }
        if since != Revision(u64::MAX) && self.faults.has_no_history.swap(false, Ordering::SeqCst) {
            return Box::pin(async move { Ok(Changes { names: None, ..self.inner.changes(since).await? }) });
        }
        self.inner.changes(since)
    }

    fn writable(&self) -> Pending<'_, ()> {
        self.inner.writable()
    }

    fn is_erasing(&self) -> bool {
        self.inner.is_erasing()
    }
}

/// A key whose version 1 is in memory, and a ciphertext under it.
async fn scene() -> (Testbed, Arc<Faults>, Vec<u8>) {
    let faults = Arc::new(Faults::default());
    let bed = Testbed::new().await;
    let on = Arc::clone(&faults);
    let bed = bed.reopen_on(|inner| Arc::new(Misbehaving { inner, faults: on })).await;
    bed.key().await;
    let ciphertext = encrypt(&bed, key_name(), None).await.ciphertext;
    decrypts(&bed, &ciphertext).await.unwrap();
    (bed, faults, ciphertext)
}

fn disable() -> UpdateCryptoKeyVersion {
    UpdateCryptoKeyVersion { name: version_name(1), enabled: false }
}

fn enable() -> UpdateCryptoKeyVersion {
    UpdateCryptoKeyVersion { name: version_name(1), enabled: true }
}

fn times_recorded(bed: &Testbed, call: &Call) -> usize {
    bed.audit_records().iter().filter(|record| record.contains(&call.id)).count()
}

async fn is_disabled_and_recorded_once(bed: &Testbed, call: &Call, ciphertext: &[u8]) {
    assert_eq!(decrypts(bed, ciphertext).await, Err(ErrorClass::FailedPrecondition));
    // The schedule does this every few seconds.
    bed.service.ledger.deliver_owed().await.unwrap();
    assert_eq!(times_recorded(bed, call), 1);
    bed.service.ledger.deliver_owed().await.unwrap();
    assert_eq!(times_recorded(bed, call), 1, "and not once more");
}

#[tokio::test]
async fn p8_a_panic_after_the_commit_leaves_the_change_as_it_is_and_recorded() {
    let (bed, faults, ciphertext) = scene().await;
    faults.panics.store(true, Ordering::SeqCst);
    let call = bed.call_of("user:owner@example.com");
    let error = bed.service.run(&call, disable()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Bug);
    is_disabled_and_recorded_once(&bed, &call, &ciphertext).await;
}

#[tokio::test]
async fn p8_a_commit_whose_answer_is_lost_counts_and_is_recorded() {
    let (bed, faults, ciphertext) = scene().await;
    faults.forgets.store(true, Ordering::SeqCst);
    let call = bed.call_of("user:owner@example.com");
    bed.service.run(&call, disable()).await.unwrap();
    is_disabled_and_recorded_once(&bed, &call, &ciphertext).await;

    // The same when it cannot be asked at once.
    faults.forgets.store(true, Ordering::SeqCst);
    faults.is_away.store(true, Ordering::SeqCst);
    let call = bed.call_of("user:owner@example.com");
    let error = bed.service.run(&call, enable()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    faults.is_away.store(false, Ordering::SeqCst);
    decrypts(&bed, &ciphertext).await.unwrap();
    let id = |text: &str| format!("\"insertId\":\"{}{text}\"", call.id);
    let times = |id: &str| bed.audit_records().iter().filter(|record| record.contains(id)).count();
    for _ in 0..2 {
        bed.service.ledger.deliver_owed().await.unwrap();
        assert_eq!((times(&id("-in-doubt")), times(&id(""))), (1, 1), "the doubt, and what is certain");
    }
}

#[tokio::test]
async fn p8_while_the_store_does_not_say_what_changed_nothing_is_answered_from_memory() {
    let (bed, faults, ciphertext) = scene().await;
    faults.is_silent.store(true, Ordering::SeqCst);
    let call = bed.call_of("user:owner@example.com");
    bed.service.run(&call, disable()).await.unwrap();
    is_disabled_and_recorded_once(&bed, &call, &ciphertext).await;
    // What is read meanwhile is not kept: the next change may not be heard of either.
    bed.run(enable()).await.unwrap();
    decrypts(&bed, &ciphertext).await.unwrap();
    bed.run(disable()).await.unwrap();
    assert_eq!(decrypts(&bed, &ciphertext).await, Err(ErrorClass::FailedPrecondition));
}

#[tokio::test]
async fn p8_a_change_that_cannot_be_recorded_says_that_it_was_done_and_is_recorded_when_the_log_is_back() {
    let (bed, _, ciphertext) = scene().await;
    // The log has to begin another segment, and its folder is away.
    bed.clock.advance(std::time::Duration::from_secs(25 * 3600));
    while !bed.audit_records().iter().any(|record| record.contains("Footer")) {
        tokio::task::yield_now().await;
    }
    let (audit, away) = (bed.directory.path().join("audit"), bed.directory.path().join("away"));
    std::fs::rename(&audit, &away).unwrap();
    let call = bed.call_of("user:owner@example.com");
    let error = bed.service.run(&call, disable()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    assert!(error.message().starts_with("The change was made (commit "), "{error}");
    std::fs::rename(&away, &audit).unwrap();
    bed.service.ledger.deliver_owed().await.unwrap();
    while decrypts(&bed, &ciphertext).await == Err(ErrorClass::Unavailable) {
        tokio::task::yield_now().await;
    }
    is_disabled_and_recorded_once(&bed, &call, &ciphertext).await;
}

#[tokio::test]
async fn p8_delivered_records_leave_the_store_and_a_batch_stays_small() {
    let bed = Testbed::new().await;
    bed.key().await;
    for _ in 0..100 {
        bed.run(disable()).await.unwrap();
        bed.run(enable()).await.unwrap();
    }
    let left = bed.service.store.count(record_name::OUTBOX).await.unwrap();
    assert_eq!(left, 1, "that of the last commit");
}

#[tokio::test]
async fn p8_a_store_without_history_is_read_anew_by_caches_and_agenda() {
    let (bed, faults, ciphertext) = scene().await;
    assert_eq!(bed.service.tick().await, Tick::default(), "the agenda is read, and nothing is due");
    faults.has_no_history.store(true, Ordering::SeqCst);
    bed.run(disable()).await.unwrap();
    assert_eq!(decrypts(&bed, &ciphertext).await, Err(ErrorClass::FailedPrecondition));
    let due = bed.clock.now().checked_add(std::time::Duration::from_secs(60)).unwrap();
    let schedule = UpdateCryptoKey {
        name: key_name(),
        labels: None,
        rotation_period_s: Some(Some(24 * 3600)),
        next_rotation_time: Some(Some(due)),
    };
    faults.has_no_history.store(true, Ordering::SeqCst);
    bed.run(schedule).await.unwrap();
    bed.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(bed.service.tick().await.rotated, 1);
    // Not again: its next time is in the agenda.
    assert_eq!(bed.service.tick().await, Tick::default());
}

#[tokio::test]
async fn a_damaged_record_does_not_stop_the_schedule_of_others() {
    let bed = Testbed::new().await;
    bed.key().await;
    let due = bed.clock.now().checked_add(std::time::Duration::from_secs(60)).unwrap();
    let name = format!("{}/cryptoKeys/scheduled", crate::testbed::ring()).parse().unwrap();
    let scheduled = CreateCryptoKey {
        name,
        rotation_period_s: Some(24 * 3600),
        next_rotation_time: Some(due),
        ..crate::testbed::create_key()
    };
    bed.run(scheduled).await.unwrap();
    let damaged = Batch::default().put(record_name::key(&key_name()), b"{".to_vec());
    bed.service.ledger.commit(damaged, None).await.unwrap().complete().unwrap();
    let bed = bed.reopen().await;
    bed.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(bed.service.tick().await.rotated, 1);
}
