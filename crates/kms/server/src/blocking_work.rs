//! Work that may wait for a file system, where it holds up nobody.

use std::panic::resume_unwind;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

/// Work on a thread of its own, of which there is never a second one beside one that has not ended: a mount that does not answer
/// keeps each thread that asks it.
pub(crate) struct BlockingWork<T>(Mutex<Option<JoinHandle<T>>>);

impl<T> Default for BlockingWork<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Send + 'static> BlockingWork<T> {
    /// Does it, or goes on waiting for what was begun before. None: it has not ended in time. Panics as the work does.
    pub(crate) async fn ask(&self, limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let mut under_way = self.0.lock().await;
        let asked = under_way.get_or_insert_with(|| spawn_blocking(work));
        let ended = tokio::time::timeout(limit, asked).await.ok()?;
        *under_way = None;
        match ended {
            Ok(done) => Some(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The runtime ends.
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_is_waited_for_and_not_begun_again() {
        let work = BlockingWork::default();
        let (answer, hangs) = mpsc::channel();
        let limit = Duration::from_millis(20);
        assert_eq!(work.ask(limit, move || hangs.recv().expect("an answer")).await, None);
        assert_eq!(work.ask(limit, || unreachable!("a second one")).await, None);
        answer.send(7).expect("somebody waits");
        let patient = Duration::from_secs(60);
        assert_eq!(work.ask(patient, || unreachable!("a second one")).await, Some(7));
        assert_eq!(work.ask(patient, || 8).await, Some(8));
    }
}
