use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};

use crate::export::Running;
use crate::metrics::Metrics;
use crate::queue::{Job, Queue};
use crate::refusals::{Refusals, RefusedCaller};
use crate::reserve::Reserve;
use crate::segment::{Lines, Next};
use crate::shared::{Durable, Shared};
use crate::state::Admission;
use crate::writer::{Damaged, Writer};
use crate::{
    AuditError, AuditSettings, ClockWatch, Event, EventKind, Head, LogState, Position, Problem, Reader,
    Record, Recovered, SignedHeads, entry, files, line, recover,
};

/// An open log. There is one writer; callers share a reference.
pub struct AuditLog {
    shared: Arc<Shared>,
    last_alive: Option<Timestamp>,
    recovered: Option<Recovered>,
    problems: Vec<Problem>,
    writer: Option<JoinHandle<()>>,
    exports: Vec<Running>,
}

impl AuditLog {
    /// Opens the log in `dir`, or begins one. A torn record at its end is cut off, as it was never acknowledged. Any other
    /// damage is named in [`AuditLog::problems`], and the log goes on behind it.
    pub fn open(dir: &Path, settings: AuditSettings) -> Result<Self, AuditError> {
        files::prepare(dir)?;
        let last_alive = files::last_alive(dir);
        let lock = files::lock(dir)?;
        let found = recover::find(dir)?;
        if let Some(Recovered { path, bytes }) = &found.recovered {
            let path = path.display();
            tracing::warn!(%path, bytes, "cut off a record that was never written whole, and never acknowledged");
        }
        for problem in &found.problems {
            tracing::error!(%problem, "the audit log is damaged; it goes on behind the damage");
        }
        let segment = found.active.as_ref().map(|it| (it.first, it.len));
        let durable = watch::Sender::new(Durable { head: found.head, segment });
        let reserve = Reserve::open(dir, settings.reserve_bytes)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            queue: Queue::default(),
            admission: Admission::new(),
            refusals: Refusals::default(),
            metrics: Metrics::new(),
            durable,
        });
        shared.metrics.head(found.head.sequence, &[]);
        shared.metrics.damaged(found.problems.len());
        if let Some(SignedHeads { signer, file }) = &settings.signed_heads {
            let mut key = file.as_os_str().to_owned();
            key.push(".pem");
            let key = PathBuf::from(key);
            let text = signer.public_key().to_string();
            files::replace(&key, &text).map_err(AuditError::io("write", &key))?;
        }
        let names: HashSet<&str> = settings.exports.iter().map(|it| it.name.as_str()).collect();
        if names.len() < settings.exports.len() {
            return Err(AuditError::Setting("two exports have one name"));
        }
        let exports: Vec<Running> = settings
            .exports
            .iter()
            .map(|export| Running::start(export, &shared))
            .collect::<Result<_, _>>()?;
        let writer = Writer {
            shared: Arc::clone(&shared),
            exports: settings.exports.iter().map(|it| it.name.clone()).collect(),
            settings,
            head: found.head,
            damage: Damaged::lines(found.stepped_over, found.head.sequence),
            active: found.active,
            reserve,
            buffer: Vec::new(),
            failing: None,
            next_tick: Instant::now(),
            next_retention: Instant::now(),
            next_head: Instant::now(),
            signed: 0,
            watch: ClockWatch::new(last_alive, Instant::now()),
            lock,
        };
        // Before anybody asks.
        writer.publish_state();
        let writer = thread::Builder::new()
            .name("audit-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| AuditError::Start(error.to_string()))?;
        let (recovered, problems) = (found.recovered, found.problems);
        Ok(Self { shared, last_alive, recovered, problems, writer: Some(writer), exports })
    }

    /// Whether a call of this kind may begin. Ask before acting: a record that cannot be written must not be needed.
    pub fn admits(&self, kind: EventKind) -> Result<(), AuditError> {
        self.shared.admission.admits(kind)?;
        self.shared.queue.has_room()
    }

    /// Whether calls can be recorded, for health.
    pub fn state(&self) -> LogState {
        self.shared.admission.state()
    }

    /// Counts a call that is not recorded by itself. Each source has one record a minute, once the minute is over. `reason` is
    /// one of few names that are part of the program, such as `expired_token`.
    pub fn count_refusal(&self, source: RefusedCaller, time: Timestamp, reason: &'static str) {
        self.shared.metrics.refusals.inc();
        self.shared.refusals.count(source, time, reason);
    }

    /// Counts a call of a known caller to whom nothing was granted, if he had enough of them recorded in full in this minute.
    /// Otherwise answers false, and the call is to be recorded by itself. `reason` and `method` are of few names.
    #[must_use]
    pub fn count_repeated(
        &self,
        principal: &str,
        time: Timestamp,
        reason: &'static str,
        method: &'static str,
    ) -> bool {
        let counted = self.shared.refusals.count_repeated(principal, time, reason, method);
        self.shared.metrics.refusals.inc_by(u64::from(counted));
        counted
    }

    /// Adds the log's metrics, and those of key destruction, to a registry that adds no prefix of its own.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Appends a record. It is on its way when this returns; the future says when it is durable, and dropping it changes
    /// nothing.
    pub fn append(&self, event: &Event) -> impl Future<Output = Result<Position, AuditError>> + Send + use<> {
        self.append_record(Record::of(event))
    }

    /// The same for an event whose record was made before.
    pub fn append_record(
        &self,
        record: Record,
    ) -> impl Future<Output = Result<Position, AuditError>> + Send + use<> {
        let (done, waiting) = oneshot::channel();
        let put = self.shared.queue.put(Job {
            content: record.content,
            destruction: record.destruction,
            done: Some(done),
        });
        async move {
            put?;
            waiting.await.unwrap_or(Err(AuditError::Closed))
        }
    }

    /// The newest durable record.
    pub fn head(&self) -> Head {
        self.shared.durable.borrow().head
    }

    /// Those of many ids under which there is a record that came after the record `after`. It reads all that came since: for
    /// what an outbox still holds, not for every call.
    pub fn contained(&self, insert_ids: &[&str], after: u64) -> Result<HashSet<String>, AuditError> {
        let durable = *self.shared.durable.borrow();
        let mut found = HashSet::new();
        for segment in files::segments(&self.shared.dir)?.into_iter().rev() {
            // Only up to what is durable: the rest may yet be cut off.
            let limit = match durable.segment {
                Some((first, len)) if first == segment.first => len,
                Some((first, _)) if segment.first > first => continue,
                _ => u64::MAX,
            };
            let mut lines = Lines::open(&segment.path, limit)?;
            loop {
                match lines.next()? {
                    Next::Record(line) => {
                        let id = entry::insert_id(line.content).filter(|it| insert_ids.contains(&&**it));
                        found.extend(id.map(Cow::into_owned));
                    }
                    Next::Damaged(_) => {}
                    Next::Torn(_) | Next::Room | Next::End => break,
                }
            }
            if segment.first <= after.saturating_add(1) {
                break;
            }
        }
        Ok(found)
    }

    /// Whether a head that was kept elsewhere is still in the log, as it was. A log that does not extend it lost its end, or
    /// was rewritten; one whose time is over, or that is damaged, cannot be told and counts as extended.
    pub fn extends(&self, kept: &Head) -> Result<bool, AuditError> {
        if kept.sequence == 0 {
            return Ok(true);
        }
        if kept.sequence > self.head().sequence {
            return Ok(false);
        }
        let record = Reader::after(&self.shared.dir, kept.sequence - 1).next_record()?;
        Ok(record.is_none_or(|it| {
            it.sequence > kept.sequence || line::read(it.text.as_bytes()).is_ok_and(|it| it.hash == kept.hash)
        }))
    }

    /// When the process before this one was last alive, to a minute and by its clock; none: there was none.
    pub fn last_alive(&self) -> Option<Timestamp> {
        self.last_alive
    }

    /// What was cut off when the log was opened.
    pub fn recovered(&self) -> Option<&Recovered> {
        self.recovered.as_ref()
    }

    /// What was damaged when the log was opened; at most 16 of it. [`crate::verify`] finds all.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Writes what is left and ends the writer. Dropping the log does the same.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the audit log's writer panicked");
        }
        self.exports.clear();
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.end();
    }
}
