use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// All tasks of a process. Each has a name; all are told to stop, and waited for, when the process ends. A task that
/// panics stops the process, because the rest would go on half alive.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    crashed: Arc<AtomicBool>,
}

/// How the tasks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All ended by themselves.
    Clean,
    /// One had panicked.
    Crashed,
    /// Some did not end in time.
    TimedOut,
}

impl Tasks {
    /// Starts a task.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let watched = self.tracker.spawn(task);
        let (stop, crashed) = (self.stop.clone(), Arc::clone(&self.crashed));
        self.tracker.spawn(async move {
            if watched.await.is_err_and(|error| error.is_panic()) {
                tracing::error!(task = name, "task panicked; stopping");
                crashed.store(true, Ordering::SeqCst);
                stop.cancel();
            }
        });
    }

    /// Resolves when the process should end. Tasks select on it.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Tells every task to stop and waits for them, at most for `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.stop.cancel();
        self.tracker.close();
        let in_time = tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok();
        match (self.crashed.load(Ordering::SeqCst), in_time) {
            (true, _) => Drained::Crashed,
            (false, true) => Drained::Clean,
            (false, false) => Drained::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_told_to_stop_and_waited_for() {
        let tasks = Tasks::default();
        let stopping = tasks.stopping();
        tasks.spawn("waits", async move { stopping.cancelled().await });
        assert_eq!(tasks.drain(Duration::from_secs(5)).await, Drained::Clean);
    }

    #[tokio::test(start_paused = true)]
    async fn task_that_does_not_end_is_given_up() {
        let tasks = Tasks::default();
        tasks.spawn("stays", std::future::pending());
        assert_eq!(tasks.drain(Duration::from_secs(5)).await, Drained::TimedOut);
    }

    #[tokio::test]
    async fn panic_stops_the_others() {
        let tasks = Tasks::default();
        tasks.spawn("panics", async { panic!("on purpose") });
        tasks.stopping().cancelled().await;
        assert_eq!(tasks.drain(Duration::from_secs(5)).await, Drained::Crashed);
    }
}
