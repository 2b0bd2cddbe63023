use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use keystead_store::{Changes, Revision, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{Changed, READ_WHOLE, Remembered, is_read_whole};

/// After a failure the store is asked again this much later, or when somebody wants to know more: soon enough for a
/// person, and no load for a store that is ill.
const RETRY: Duration = Duration::from_secs(1);
/// Records that are read at once where all are read; changes are applied in between.
const PAGE: usize = 1000;

/// Tells [`Remembered`] what was written, as the store says it. One task of its own asks the store and applies the answer, so
/// that it goes on whatever becomes of a call. While the store does not answer nothing is remembered. It begins with the
/// records of which all are read.
pub(crate) struct Feed {
    wake: Arc<Wake>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

/// Who wants to know more.
#[derive(Default)]
struct Wake {
    /// How many have asked.
    asked: AtomicU64,
    /// The task sleeps here.
    arrived: Notify,
}

#[derive(Clone, Copy)]
struct Progress {
    /// All commits up to this one are applied.
    at: Revision,
    /// So many of those who asked had done so before the store was asked.
    heard: u64,
    /// All records of the kinds that are read whole were read.
    all_is_read: bool,
    /// The store does not say what was written, so nothing is remembered.
    suspended: bool,
}

impl Feed {
    /// Follows the store from a commit on. It does not keep the store open.
    pub(crate) fn start(store: &Arc<dyn Store>, remembered: Arc<Remembered>, from: Revision) -> Self {
        let (sender, progress) =
            watch::channel(Progress { at: from, heard: 0, all_is_read: false, suspended: false });
        let wake = Arc::new(Wake::default());
        let follower =
            Follower { store: Arc::downgrade(store), remembered, wake: Arc::clone(&wake), progress: sender };
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the feed, and its panic must not end the process"
        )]
        let task = tokio::spawn(follower.run(from));
        Self { wake, progress, task }
    }

    /// Returns when what is remembered is at least as new as this commit, which has happened.
    pub(crate) async fn reach(&self, revision: Revision) {
        let fresh = |progress: &Progress| progress.at >= revision || progress.suspended;
        let mut progress = self.progress.clone();
        if fresh(&progress.borrow()) {
            return;
        }
        // Whatever number the store gives to what it has: after an answer to a question from now on, it is applied.
        let asked = self.wake.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.arrived.notify_one();
        // When the task has ended nothing is remembered any more, and that is new enough.
        drop(progress.wait_for(|progress| fresh(progress) || progress.heard >= asked).await);
    }

    /// Whether all records of the kinds that are read whole are known; waits while they are being read and the store answers.
    pub(crate) async fn all_is_read(&self) -> bool {
        let mut progress = self.progress.clone();
        let known = progress.wait_for(|progress| progress.all_is_read || progress.suspended).await;
        known.is_ok_and(|progress| progress.all_is_read)
    }

    /// Has the store asked soon: it may have written something.
    pub(crate) fn refresh(&self) {
        self.wake.arrived.notify_one();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    store: Weak<dyn Store>,
    remembered: Arc<Remembered>,
    wake: Arc<Wake>,
    progress: watch::Sender<Progress>,
}

impl Follower {
    async fn run(self, mut at: Revision) {
        let (mut unread, mut failed) = (Some(Place::default()), false);
        loop {
            if failed {
                // Whichever comes first.
                drop(tokio::time::timeout(RETRY, self.wake.arrived.notified()).await);
            } else if unread.is_none() {
                self.wake.arrived.notified().await;
            }
            let heard = self.wake.asked.load(Ordering::SeqCst);
            let result = {
                // Let go of before anybody hears of it: who closes the store after that must be the last to hold it.
                let Some(store) = self.store.upgrade() else { return };
                self.pass(store.as_ref(), &mut at, &mut unread).await
            };
            failed = result.is_err();
            if let Err(error) = result {
                tracing::error!(%error, "the store does not say what was changed; nothing is remembered until it does");
                self.remembered.suspend();
            }
            let all_is_read = unread.is_none();
            self.remembered.needed_keys.set_known((all_is_read && !failed).then_some(at));
            self.progress.send_replace(Progress { at, heard, all_is_read, suspended: failed });
        }
    }

    /// Applies what was written after `at`, and then reads one more page, if there is more to read. In this
    /// order, and never both at once, so that what a page says is not older than what was applied.
    async fn pass(
        &self,
        store: &dyn Store,
        at: &mut Revision,
        unread: &mut Option<Place>,
    ) -> Result<(), StoreError> {
        let Changes { up_to, names } = store.changes(*at).await?;
        match names {
            Some(names) => self.remembered.apply(&changed(store, names).await?),
            // Too long ago: everything may have changed.
            None => {
                self.remembered.suspend();
                self.remembered.clear();
                self.remembered.apply(&[]);
                *unread = Some(Place::default());
            }
        }
        *at = up_to;
        if let Some(place) = unread.take() {
            *unread = match self.read_page(store, &place).await {
                Ok(next) => next,
                Err(error) => {
                    *unread = Some(place);
                    return Err(error);
                }
            };
        }
        Ok(())
    }

    /// Takes what some records say. Answers where the others begin.
    async fn read_page(&self, store: &dyn Store, place: &Place) -> Result<Option<Place>, StoreError> {
        let Some(prefix) = READ_WHOLE.get(place.prefix) else { return Ok(None) };
        let page = store.list(prefix, &place.after, PAGE).await?;
        for entry in &page {
            self.remembered.note(&entry.name, Some(&entry.value));
        }
        Ok(Some(match page.last() {
            Some(last) if page.len() == PAGE => Place { prefix: place.prefix, after: last.name.clone() },
            _ => Place { prefix: place.prefix + 1, after: String::new() },
        }))
    }
}

/// How far has been read.
#[derive(Default)]
struct Place {
    /// Which of [`READ_WHOLE`].
    prefix: usize,
    after: String,
}

impl Drop for Follower {
    /// Also after a panic: what is not kept up must not be served.
    fn drop(&mut self) {
        self.remembered.suspend();
    }
}

/// Records by name, with what is in those of the kinds that are read whole.
async fn changed(store: &dyn Store, names: Vec<String>) -> Result<Vec<Changed>, StoreError> {
    let mut changed = Vec::with_capacity(names.len());
    for name in names {
        let value = match is_read_whole(&name) {
            true => store.get(&name).await?.map(|entry| entry.value),
            false => None,
        };
        changed.push(Changed { name, value });
    }
    Ok(changed)
}
