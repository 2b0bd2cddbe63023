//! Sends records elsewhere. Each export has a thread of its own and reads the log from the disk at its own pace, so that one
//! that hangs holds up nobody: not the writer, not a caller, not another export.
//!
//! Every record is sent at least once. What was sent is kept in `export-NAME.cursor`.

mod cursor;
mod file;
mod otlp;
mod syslog;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time;

pub use otlp::OtlpSettings;
pub use syslog::SyslogAddress;

use crate::metrics::ExportMetrics;
use crate::shared::Shared;
use crate::{AuditError, Reader, RecordLine};
use cursor::Cursor;

/// Records that are sent together: a collector takes a few MiB, and a failure repeats no more than this.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// A peer that needs longer for one batch is gone.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// After the first failure, doubled with each one after it up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// What ends of the process wait for an export that hangs in a system call.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Where records go besides the log.
#[derive(Clone, Debug)]
pub struct ExportSettings {
    /// Its name in metrics and in the name of its cursor: lower-case letters, digits and hyphens, at most 32.
    pub name: String,
    /// Where to.
    pub to: Export,
}

impl ExportSettings {
    /// What can be judged without trying it.
    pub fn check(&self) -> Result<(), AuditError> {
        let good = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        if self.name.is_empty() || self.name.len() > 32 || !self.name.chars().all(good) {
            let wrong = "an export's name has 1 to 32 lower-case letters, digits and hyphens";
            return Err(AuditError::Setting(wrong));
        }
        match &self.to {
            Export::Otlp(settings) => settings.check(),
            Export::File(_) | Export::Syslog(_) => Ok(()),
        }
    }
}

/// Kinds of exports.
#[derive(Clone, Debug)]
pub enum Export {
    /// A file, on another file system perhaps. It may be moved away at any time; a new one is begun.
    File(PathBuf),
    /// A syslog receiver, in the form of RFC 5424.
    Syslog(SyslogAddress),
    /// A collector of OpenTelemetry, by OTLP over HTTP with JSON.
    Otlp(OtlpSettings),
}

/// An export at work. Dropping it stops it.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    /// In a lock only because callers share the log.
    ended: Mutex<mpsc::Receiver<()>>,
    name: String,
}

impl Running {
    /// Starts the thread of one export.
    pub(crate) fn start(settings: &ExportSettings, shared: &Arc<Shared>) -> Result<Self, AuditError> {
        settings.check()?;
        let ExportSettings { name, to } = settings;
        let worker = Worker {
            cursor: Cursor::open(&shared.dir, name)?,
            sink: Sink::new(to)?,
            metrics: shared.metrics.export(name),
            shared: Arc::clone(shared),
            name: name.clone(),
        };
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| AuditError::Start(error.to_string()))?;
        let run = move || {
            runtime.block_on(worker.until(stopped));
            // Nobody waits any more when the process ends faster than this.
            end.send(()).unwrap_or_default();
        };
        thread::Builder::new()
            .name(format!("audit-export-{name}").chars().take(15).collect())
            .spawn(run)
            .map_err(|error| AuditError::Start(error.to_string()))?;
        Ok(Self { stop, ended: Mutex::new(ended), name: name.clone() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(STOP_LIMIT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(export = self.name, "an export of the audit log hangs, and is left behind");
        }
    }
}

/// The one peer of an export.
enum Sink {
    File(file::FileSink),
    Syslog(Box<syslog::SyslogSink>),
    Otlp(otlp::OtlpSink),
}

impl Sink {
    fn new(to: &Export) -> Result<Self, AuditError> {
        Ok(match to {
            Export::File(path) => Self::File(file::FileSink::new(path)),
            Export::Syslog(address) => Self::Syslog(Box::new(syslog::SyslogSink::new(address))),
            Export::Otlp(settings) => Self::Otlp(otlp::OtlpSink::new(settings)?),
        })
    }

    /// Sends a batch, all of it as far as the peer says. The error is for a person.
    async fn send(&mut self, batch: &[RecordLine]) -> Result<(), String> {
        match self {
            Self::File(sink) => sink.send(batch).map_err(|error| error.to_string()),
            Self::Syslog(sink) => sink.send(batch).await.map_err(|error| error.to_string()),
            Self::Otlp(sink) => sink.send(batch).await,
        }
    }
}

struct Worker {
    cursor: Cursor,
    sink: Sink,
    metrics: ExportMetrics,
    shared: Arc<Shared>,
    name: String,
}

impl Worker {
    async fn until(mut self, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            // An error says that the other side is gone, which is an end too.
            _ = stopped.wait_for(|it| *it) => {}
            () = self.run() => {}
        }
    }

    async fn run(&mut self) {
        let mut durable = self.shared.durable.subscribe();
        let mut reader = Reader::after(&self.shared.dir, self.cursor.sequence());
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = self.cursor.sequence();
            self.metrics.exported(sent);
            let Ok(head) = durable.wait_for(|it| it.head.sequence > sent).await.map(|it| it.head.sequence)
            else {
                return;
            };
            let batch = match batch(&mut reader, sent, head) {
                Ok(batch) => batch,
                Err(error) => {
                    self.failed(&error.to_string(), &mut pause).await;
                    reader = Reader::after(&self.shared.dir, sent);
                    continue;
                }
            };
            for problem in reader.take_problems() {
                tracing::error!(export = self.name, %problem, "a damaged line is not exported");
            }
            let Some(last) = batch.last().map(|it| it.sequence) else {
                // What the head names is not there to be read: it was deleted, or the directory was.
                self.failed("the records cannot be found", &mut pause).await;
                continue;
            };
            self.metrics.lost(last - sent - batch.len() as u64);
            while let Err(error) = self.send(&batch).await {
                self.failed(&error, &mut pause).await;
            }
            if pause > FIRST_PAUSE {
                tracing::info!(export = self.name, "the export of the audit log works again");
                pause = FIRST_PAUSE;
            }
            if let Err(error) = self.cursor.store(last) {
                tracing::warn!(export = self.name, %error, "after a restart some records will be sent again");
            }
        }
    }

    async fn send(&mut self, batch: &[RecordLine]) -> Result<(), String> {
        match time::timeout(SEND_LIMIT, self.sink.send(batch)).await {
            Ok(sent) => sent,
            Err(_) => Err(format!("no answer within {} s", SEND_LIMIT.as_secs())),
        }
    }

    async fn failed(&self, error: &str, pause: &mut Duration) {
        self.metrics.failed();
        // Once for each outage; the metric has the rest.
        if *pause == FIRST_PAUSE {
            tracing::warn!(
                export = self.name,
                error,
                "an export of the audit log fails; it will be tried again"
            );
        }
        time::sleep(*pause).await;
        *pause = (*pause * 2).min(LAST_PAUSE);
    }
}

/// The next records, up to the head: what is after it may not be durable yet.
fn batch(reader: &mut Reader, sent: u64, head: u64) -> Result<Vec<RecordLine>, AuditError> {
    let (mut batch, mut bytes, mut last) = (Vec::new(), 0, sent);
    while batch.len() < BATCH && bytes < BATCH_BYTES && last < head {
        let Some(record) = reader.next_record()? else {
            break;
        };
        (bytes, last) = (bytes + record.text.len(), record.sequence);
        batch.push(record);
    }
    Ok(batch)
}

fn cursor_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("export-{name}.cursor"))
}
