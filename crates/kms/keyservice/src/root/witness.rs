use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use keystead_model::ErrorClass;
use tokio::sync::oneshot;

use super::history::{self, History, VersionEvent};
use super::point::{Point, Written};
use super::slot::Slots;
use super::{RootDirectory, RootError};
use crate::KmsError;

/// Writes down how far the database has come, in a place that is not restored with it. One thread writes; what mutations
/// bring while it syncs is written together.
pub(crate) struct Witness {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The writer sleeps here.
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    wanted: Option<Point>,
    events: Vec<VersionEvent>,
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
    /// The last write failed: what it should have written is still to be written.
    behind: bool,
    closed: bool,
}

impl Witness {
    /// Reads the witness, and starts its writer. Answers the point that it knew; none: it is new, or was lost.
    pub(crate) fn open(root: &RootDirectory) -> Result<(Self, Option<Point>), RootError> {
        let (slots, slot) = Slots::open(&root.path().join("witness"))?;
        let (history, line) = History::open(&root.path().join(history::FILE))?;
        // A mutation that makes or destroys a version writes only its lines, any other only a slot.
        let newest = slot.into_iter().chain(line).max_by_key(|written| written.serial);
        let point = newest.map(|written| written.point);
        Ok((Self::start(slots, history, newest)?, point))
    }

    fn start(slots: Slots, history: History, newest: Option<Written>) -> Result<Self, RootError> {
        let shared = Arc::new(Shared::default());
        shared.lock().wanted = newest.map(|written| written.point);
        let writer = Writer {
            shared: Arc::clone(&shared),
            slots,
            history,
            serial: newest.map_or(0, |written| written.serial),
        };
        let writer = thread::Builder::new()
            .name("witness".into())
            .spawn(move || writer.run())
            .map_err(RootError::Writer)?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Asks before a mutation. After a write that failed nothing is changed until one succeeds again.
    pub(crate) async fn ready(&self) -> Result<(), KmsError> {
        let again = {
            let mut state = self.shared.lock();
            if !state.behind {
                return Ok(());
            }
            self.shared.wait_in(&mut state)
        };
        outcome(again).await
    }

    /// Notes a commit. Resolves when it is durable.
    pub(crate) async fn advance(&self, point: Point, events: Vec<VersionEvent>) -> Result<(), KmsError> {
        let done = {
            let mut state = self.shared.lock();
            let ahead = state.wanted.filter(|wanted| wanted.counter > point.counter);
            state.wanted = Some(ahead.unwrap_or(point));
            state.events.extend(events);
            self.shared.wait_in(&mut state)
        };
        outcome(done).await
    }

    /// Goes on from a point that may be behind: somebody has confirmed it.
    pub(crate) async fn reset(&self, point: Point, events: Vec<VersionEvent>) -> Result<(), KmsError> {
        self.shared.lock().wanted = None;
        self.advance(point, events).await
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_one();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the witness's writer panicked");
        }
    }
}

impl Shared {
    fn wait_in(&self, state: &mut State) -> oneshot::Receiver<Result<(), String>> {
        let (done, waiting) = oneshot::channel();
        state.waiting.push(done);
        self.arrived.notify_one();
        waiting
    }

    /// Nothing panics while it is held, so a poisoned lock has good content.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn outcome(done: oneshot::Receiver<Result<(), String>>) -> Result<(), KmsError> {
    let failed = match done.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(text)) => text,
        Err(_) => "its writer has ended".to_owned(),
    };
    tracing::error!(error = failed, "the witness cannot be written");
    let text = "the server cannot write its witness, so it changes nothing now; its log says why";
    Err(KmsError::new(ErrorClass::Unavailable, text))
}

struct Writer {
    shared: Arc<Shared>,
    slots: Slots,
    history: History,
    serial: u64,
}

impl Writer {
    fn run(mut self) {
        loop {
            let (point, events, waiting) = {
                let state = self.shared.lock();
                let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
                let woken = self.shared.arrived.wait_while(state, idle);
                let mut state = woken.unwrap_or_else(PoisonError::into_inner);
                if state.waiting.is_empty() {
                    return;
                }
                (state.wanted, std::mem::take(&mut state.events), std::mem::take(&mut state.waiting))
            };
            let written = self.write(point, &events).map_err(|error| error.to_string());
            let mut state = self.shared.lock();
            state.behind = written.is_err();
            if written.is_err() {
                state.events.splice(0..0, events);
            }
            drop(state);
            for done in waiting {
                // Who does not wait any more has lost nothing.
                drop(done.send(written.clone()));
            }
        }
    }

    fn write(&mut self, point: Option<Point>, events: &[VersionEvent]) -> io::Result<()> {
        let Some(point) = point else { return Ok(()) };
        let written = Written { serial: self.serial + 1, point };
        if events.is_empty() {
            self.slots.write(&written)?;
        } else {
            self.history.append(events, &written)?;
        }
        self.serial = written.serial;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keystead_audit::Hash;

    use super::*;

    fn point(counter: u64) -> Point {
        Point { counter, audit_sequence: 0, audit_hash: Hash::NONE }
    }

    #[tokio::test]
    async fn of_many_commits_at_once_the_newest_is_known_after_a_restart() {
        let temp = tempfile::tempdir().expect("a directory");
        let root = RootDirectory::open(&temp.path().join("root")).expect("opens");
        let (witness, found) = Witness::open(&root).expect("opens");
        assert_eq!(found, None);
        let witness = Arc::new(witness);
        let mut commits = tokio::task::JoinSet::new();
        for counter in (1..=100).rev() {
            let witness = Arc::clone(&witness);
            commits.spawn(async move { witness.advance(point(counter), Vec::new()).await });
        }
        for noted in commits.join_all().await {
            noted.expect("noted");
        }
        drop(witness);
        let (witness, found) = Witness::open(&root).expect("opens");
        assert_eq!(found, Some(point(100)));
        // Only a confirmed rollback goes back.
        witness.advance(point(7), Vec::new()).await.expect("noted");
        drop(witness);
        let (witness, found) = Witness::open(&root).expect("opens");
        assert_eq!(found, Some(point(100)));
        witness.reset(point(7), Vec::new()).await.expect("noted");
        drop(witness);
        assert_eq!(Witness::open(&root).expect("opens").1, Some(point(7)));
    }

    #[tokio::test]
    async fn while_it_cannot_be_written_nothing_may_change() {
        let temp = tempfile::tempdir().expect("a directory");
        let root = RootDirectory::open(&temp.path().join("root")).expect("opens");
        drop(Witness::open(&root).expect("opens"));
        let (history, ..) = History::open(&root.path().join("versions")).expect("opens");
        let slots = Slots::read_only(&root.path().join("witness"));
        let witness = Witness::start(slots, history, None).expect("starts");
        witness.ready().await.expect("nothing has failed yet");
        let error = witness.advance(point(1), Vec::new()).await.expect_err("it cannot be written");
        assert_eq!(error.class(), ErrorClass::Unavailable);
        witness.ready().await.expect_err("it was tried again, in vain");
    }
}
