//! How long one source is waited for: whatever hangs, such as a program that a kubeconfig names, keeps nothing else from being looked at.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::doctor::facts::Seen;

/// Looks on a thread of its own, because files and programs block the thread that waits for them.
pub(super) async fn apart<T, F>(
    what: &str,
    limit: Duration,
    look: impl FnOnce() -> F + Send + 'static,
) -> Seen<T>
where
    T: Send + 'static,
    F: Future<Output = Seen<T>>,
{
    let runtime = Handle::current();
    let task = tokio::task::spawn_blocking(move || runtime.block_on(async { look().await }));
    match tokio::time::timeout(limit, task).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(_)) => Err(format!("looking at {what} ended too early: that is a fault of this program")),
        Err(_) => Err(format!("{what}: there was no end of it within {} s", limit.as_secs_f64().ceil())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[tokio::test]
    async fn what_blocks_its_thread_is_left_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
        let path = fifo.clone();
        let seen: Seen<Vec<u8>> = apart("a FIFO", Duration::from_millis(50), || async move {
            fs::read(path).map_err(|error| error.to_string())
        })
        .await;
        assert_eq!(seen, Err("a FIFO: there was no end of it within 1 s".to_owned()));
        // The thread ends with the test.
        drop(fs::OpenOptions::new().write(true).open(&fifo).expect("opened"));
        assert_eq!(apart("quick", Duration::from_secs(60), || async { Ok(7) }).await, Ok(7));
    }
}
