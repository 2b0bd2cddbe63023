//! Log lines on their way to standard error: whoever logs never waits for whoever reads.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::log_limit::LogLimit;

/// About 2,000 lines of 250 bytes: more than a burst at start or in an outage, and little beside the rest of a process.
const MAX_QUEUED_BYTES: usize = 512 * 1024;
/// A reader that is alive takes the whole queue in milliseconds. One that is not must not keep a process from ending: the
/// plugin's drain of 10 s and this are well below the 90 s that systemd waits before it kills.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);
/// How often suppressed lines are looked for.
const LIMIT_LOOK: Duration = Duration::from_secs(1);
/// Before another try at a descriptor that somebody made non-blocking.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The queue of this process, once logging has started. There is one standard error, and so there is one queue.
static PROCESS_QUEUE: OnceLock<Arc<LogQueue>> = OnceLock::new();

/// How many lines of this process's log were dropped because nobody read them in time.
pub fn dropped_log_lines() -> u64 {
    PROCESS_QUEUE.get().map_or(0, |queue| queue.lock().dropped)
}

/// The queue to standard error, with its thread; `None` if the thread cannot be started.
pub(crate) fn process_queue(limit: &Arc<LogLimit>) -> Option<Arc<LogQueue>> {
    if let Some(queue) = PROCESS_QUEUE.get() {
        return Some(Arc::clone(queue));
    }
    // A descriptor of its own: the lock inside `std::io::stderr` would be held as long as the reader stalls.
    let out = File::from(std::io::stderr().as_fd().try_clone_to_owned().ok()?);
    let queue = LogQueue::start(out, Arc::clone(limit)).ok()?;
    Some(Arc::clone(PROCESS_QUEUE.get_or_init(|| queue)))
}

/// Sends a last text after all that was logged, and waits for both, at most for [`FLUSH_DEADLINE`]. False when this process
/// does not log, and so nothing was sent.
pub(crate) fn end_logs(last: Option<&str>) -> bool {
    let Some(queue) = PROCESS_QUEUE.get() else { return false };
    queue.limit.report(true);
    if let Some(text) = last {
        queue.push(format!("{text}\n").into_bytes());
    }
    queue.flush(FLUSH_DEADLINE);
    true
}

/// A bounded queue of whole lines, and what its thread does.
#[derive(Debug)]
pub(crate) struct LogQueue {
    state: Mutex<State>,
    changed: Condvar,
    limit: Arc<LogLimit>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread has taken a line and not finished writing it.
    writing: bool,
    dropped: u64,
    /// Of these, how many the log has been told of.
    reported: u64,
}

impl LogQueue {
    fn start(out: impl Write + Send + 'static, limit: Arc<LogLimit>) -> std::io::Result<Arc<Self>> {
        let queue = Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), limit });
        let writer = Arc::clone(&queue);
        // It ends with the process: what it waits for may never come.
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_for_ever(out))?;
        Ok(queue)
    }

    /// Takes a line, or drops and counts it when the queue is full.
    pub(crate) fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.bytes.saturating_add(line.len()) > MAX_QUEUED_BYTES {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    fn write_for_ever(&self, mut out: impl Write) {
        let mut looked = Instant::now();
        loop {
            let next = self.next();
            if looked.elapsed() >= LIMIT_LOOK {
                looked = Instant::now();
                self.limit.report(false);
            }
            let Some(line) = next else { continue };
            let written = write_whole(&mut out, &line);
            let unreported = {
                let mut state = self.lock();
                state.writing = false;
                state.dropped += u64::from(!written);
                self.changed.notify_all();
                // With half of the queue free the report itself is not dropped.
                let flows = written && state.bytes < MAX_QUEUED_BYTES / 2;
                let unreported = if flows { state.dropped - state.reported } else { 0 };
                state.reported += unreported;
                unreported
            };
            if unreported > 0 {
                tracing::warn!(lines = unreported, "lines of the log were dropped: nobody read them in time");
            }
        }
    }

    /// The next line, or `None` after a while without one.
    fn next(&self) -> Option<Vec<u8>> {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, LIMIT_LOOK, |state| state.lines.is_empty());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let line = state.lines.pop_front()?;
        state.bytes -= line.len();
        state.writing = true;
        Some(line)
    }

    fn flush(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut state = self.lock();
        while state.writing || !state.lines.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// False when standard error is closed or broken: the line is lost, and the process goes on.
fn write_whole(out: &mut impl Write, mut line: &[u8]) -> bool {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return false,
            Ok(count) => line = line.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_PAUSE),
            Err(_) => return false,
        }
    }
    true
}

/// For the formatter, which writes each line with one call.
#[derive(Clone)]
pub(crate) struct QueueWriter(pub(crate) Arc<LogQueue>);

impl Write for QueueWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn queue(out: impl Write + Send + 'static) -> Arc<LogQueue> {
        LogQueue::start(out, Arc::default()).expect("a thread")
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let queue = queue(writer);
        for number in 0..1000 {
            queue.push(format!("line {number}\n").into_bytes());
        }
        let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        let mut read = vec![0; expected.len()];
        reader.read_exact(&mut read).expect("all of them");
        assert_eq!(String::from_utf8(read).expect("text"), expected);
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_holds_nobody_up() {
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let queue = queue(writer);
        let line = vec![b'x'; 1024];
        for _ in 0..2000 {
            queue.push(line.clone());
        }
        let state = queue.lock();
        assert!(state.bytes <= MAX_QUEUED_BYTES);
        // A pipe holds up to 1 MiB on some kernels, 64 KiB on most.
        assert!(state.dropped >= 400, "{}", state.dropped);
    }

    #[test]
    fn the_wait_at_the_end_is_bounded() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let queue = queue(writer);
        for _ in 0..2000 {
            queue.push(vec![b'x'; 1024]);
        }
        queue.flush(Duration::from_millis(50));
        assert!(!queue.lock().lines.is_empty(), "nobody reads");
        drop(reader);
        queue.flush(Duration::from_secs(60));
        assert!(queue.lock().lines.is_empty(), "a reader that is gone holds nothing up either");
    }
}
