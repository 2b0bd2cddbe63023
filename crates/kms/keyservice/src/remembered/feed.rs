use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use keystead_store::{Changes, Revision, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{Changed, Remembered, agenda};

/// After a failure the store is asked again this much later, or when somebody wants to know more: soon enough for a
/// person, and no load for a store that is ill.
const RETRY: Duration = Duration::from_secs(1);
/// Records that are read at once when the store no longer knows what was changed.
const PAGE: usize = 1000;

/// Tells [`Remembered`] what was written, as the store says it. One task of its own asks the store and applies the answer, so
/// that it goes on whatever becomes of a call. While the store does not answer nothing is remembered.
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
    /// The store does not say what was written, so nothing is remembered.
    suspended: bool,
}

impl Feed {
    /// Follows the store from a commit on. It does not keep the store open.
    pub(crate) fn start(store: &Arc<dyn Store>, remembered: Arc<Remembered>, from: Revision) -> Self {
        let (sender, progress) = watch::channel(Progress { at: from, heard: 0, suspended: false });
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
        let mut failed = false;
        loop {
            if failed {
                // Whichever comes first.
                drop(tokio::time::timeout(RETRY, self.wake.arrived.notified()).await);
            } else {
                self.wake.arrived.notified().await;
            }
            let Some(store) = self.store.upgrade() else { return };
            let heard = self.wake.asked.load(Ordering::SeqCst);
            failed = match self.pass(store.as_ref(), at).await {
                Ok(up_to) => {
                    at = up_to;
                    self.progress.send_replace(Progress { at, heard, suspended: false });
                    false
                }
                Err(error) => {
                    tracing::error!(%error, "the store does not say what was changed; nothing is remembered until it does");
                    self.remembered.suspend();
                    self.progress.send_replace(Progress { at, heard, suspended: true });
                    true
                }
            };
        }
    }

    /// Applies what was written after `since`. Answers how far that goes.
    async fn pass(&self, store: &dyn Store, since: Revision) -> Result<Revision, StoreError> {
        let Changes { up_to, names } = store.changes(since).await?;
        let changed = match names {
            Some(names) => changed(store, names).await?,
            None => {
                self.remembered.suspend();
                let everything = everything(store).await?;
                self.remembered.agenda.clear();
                everything
            }
        };
        self.remembered.apply(&changed);
        Ok(up_to)
    }
}

impl Drop for Follower {
    /// Also after a panic: what is not kept up must not be served.
    fn drop(&mut self) {
        self.remembered.suspend();
    }
}

/// Records by name, with what is in those that the agenda wants.
async fn changed(store: &dyn Store, names: Vec<String>) -> Result<Vec<Changed>, StoreError> {
    let mut changed = Vec::with_capacity(names.len());
    for name in names {
        let value = match agenda::wants(&name) {
            true => store.get(&name).await?.map(|entry| entry.value),
            false => None,
        };
        changed.push(Changed { name, value });
    }
    Ok(changed)
}

/// Every record that the agenda wants, for when the store no longer knows which of them changed.
async fn everything(store: &dyn Store) -> Result<Vec<Changed>, StoreError> {
    let mut found = Vec::new();
    for prefix in agenda::PREFIXES {
        let mut after = String::new();
        loop {
            let page = store.list(prefix, &after, PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|entry| entry.name.clone()).unwrap_or_default();
            found.extend(page.into_iter().map(|it| Changed { name: it.name, value: Some(it.value) }));
            if !full {
                break;
            }
        }
    }
    Ok(found)
}
