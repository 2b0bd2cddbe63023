//! The one thread that writes. It takes all that waits, writes it with one call, syncs once, and then tells everyone.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::active::Active;
use crate::error::Failed;
use crate::queue::Job;
use crate::reserve::{Reserve, is_no_space};
use crate::shared::{Durable, Shared};
use crate::{
    AuditError, AuditSettings, ClockWatch, Head, LogState, Position, SignedHeads, entry, files, line,
    refusals, retention,
};

/// How often the writer looks at ages and at free space.
const TICK: Duration = Duration::from_secs(1);
/// How often it looks for segments whose time is over, and after each seal.
const RETENTION_EVERY: Duration = Duration::from_secs(60 * 60);
/// The share of a sync's time that is spent on waiting for callers who are about to come back: little to lose, and up to
/// twice the records for each sync.
const PATIENCE: u32 = 8;
/// How often a head is signed, and how often the writer says that it is alive: whoever cuts off what is newer is not found by it.
const HEAD_EVERY: Duration = Duration::from_secs(60);
/// What a write may need beyond its bytes: blocks of the directory and of the file system's own records.
const OVERHEAD: u64 = 64 * 1024;

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    pub settings: AuditSettings,
    pub head: Head,
    /// What no record tells of yet.
    pub damage: Option<Damaged>,
    pub active: Option<Active>,
    pub reserve: Reserve,
    /// Their names.
    pub exports: Vec<String>,
    /// Lines of one group; kept, because groups are alike in size.
    pub buffer: Vec<u8>,
    pub failing: Option<Failing>,
    pub next_tick: Instant,
    pub next_retention: Instant,
    pub next_head: Instant,
    /// The sequence of the head that was signed last.
    pub signed: u64,
    pub watch: ClockWatch,
    /// Open as long as the thread runs. Its date says when that was.
    pub lock: File,
}

/// Damage that the writer met, as its record tells it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Damaged {
    #[serde(rename = "@type")]
    kind: &'static str,
    /// Lines at the end of the log that are no records.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u64>,
    /// The name of a file that was removed or replaced while it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
    /// Its first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_sequence: Option<u64>,
    /// The newest sequence that is concerned.
    through: u64,
}

impl Damaged {
    const KIND: &'static str = "keystead.audit.Damaged";

    /// Lines behind the newest record; none: there are none.
    pub(crate) fn lines(lines: u64, through: u64) -> Option<Self> {
        let damaged =
            Self { kind: Self::KIND, lines: Some(lines), segment: None, first_sequence: None, through };
        (lines > 0).then_some(damaged)
    }

    fn segment(path: &Path, first: u64, through: u64) -> Self {
        let segment = path.file_name().map(|it| it.to_string_lossy().into_owned());
        Self { kind: Self::KIND, lines: None, segment, first_sequence: Some(first), through }
    }
}

/// Since when nothing can be written.
pub(crate) struct Failing {
    since: Timestamp,
    cause: String,
    records: u64,
}

impl Writer {
    /// Until the log is closed and everything that was left is written.
    pub(crate) fn run(mut self) {
        self.say_alive();
        self.record_damage();
        let (mut wanted, mut patience) = (0, Duration::ZERO);
        loop {
            let taken = self.shared.queue.take(TICK, wanted, patience);
            if taken.jobs.is_empty() && taken.closed {
                break;
            }
            let started = Instant::now();
            wanted = self.group(taken.jobs);
            patience = started.elapsed() / PATIENCE;
            self.upkeep();
        }
        self.record_refusals(None);
        self.sign_head();
        self.say_alive();
        if let Some(active) = self.active.take() {
            active.close();
        }
    }

    /// Writes one group and tells everyone who waits for a part of it. Says how many callers there seem to be.
    fn group(&mut self, jobs: Vec<Job>) -> usize {
        if jobs.is_empty() {
            return 0;
        }
        let first = self.head.sequence + 1;
        let written = self.write(jobs.iter().map(|it| it.content.as_slice()));
        let callers = jobs.len() + self.shared.queue.len();
        for (job, sequence) in jobs.into_iter().zip(first..) {
            match (&written, job.destruction) {
                (Ok(()), Some(step)) => self.shared.metrics.destruction(step),
                (Ok(()), None) | (Err(_), _) => {}
            }
            if let Some(done) = job.done {
                // Whoever has gone away does not want to know.
                drop(done.send(written.clone().map(|()| Position { sequence })));
            }
        }
        callers
    }

    /// Appends records and makes them durable: all, or none.
    fn write<'a>(&mut self, contents: impl Iterator<Item = &'a [u8]>) -> Result<(), AuditError> {
        let now = (self.settings.clock)();
        self.buffer.clear();
        let mut head = Head { time: now, ..self.head };
        for content in contents {
            head.sequence += 1;
            head.hash = line::write(&mut self.buffer, head.sequence, head.hash, content);
        }
        let records = head.sequence - self.head.sequence;
        let started = Instant::now();
        self.shared.admission.writing(true);
        let durable = self.persist(now);
        self.shared.admission.writing(false);
        match durable {
            Ok(segment) => {
                self.shared.metrics.synced(started.elapsed(), records, self.buffer.len() as u64);
                self.head = head;
                self.shared.metrics.head(head.sequence, &self.exports);
                self.shared.durable.send_replace(Durable { head, segment: Some(segment) });
                Ok(())
            }
            Err(failed) => {
                let error = AuditError::from(failed);
                self.shared.metrics.failed.inc_by(records);
                let cause = || Failing { since: now, cause: error.to_string(), records: 0 };
                self.failing.get_or_insert_with(cause).records += records;
                self.publish_state();
                Err(error)
            }
        }
    }

    /// Gets the buffer to the disk, with the help of the reserve when it is full. First sequence and length of the segment.
    fn persist(&mut self, now: Timestamp) -> Result<(u64, u64), Failed> {
        let needed = self.buffer.len() as u64 + OVERHEAD;
        loop {
            match self.append(now) {
                Err(failed) if is_no_space(&failed.source) && self.reserve.release(needed) => {
                    self.publish_state()
                }
                result => return result,
            }
        }
    }

    fn append(&mut self, now: Timestamp) -> Result<(u64, u64), Failed> {
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert(Active::begin(&self.shared.dir, self.head.sequence + 1)?),
        };
        active.append(&self.buffer)?;
        active.started.get_or_insert(now);
        Ok((active.first, active.len))
    }

    fn upkeep(&mut self) {
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + TICK;
            self.resume();
            self.leave_lost_segment();
            self.record_damage();
            self.reserve.grow();
            self.publish_state();
            let now = (self.settings.clock)();
            self.record_refusals(Some(now));
        }
        self.seal_when_due();
        if Instant::now() >= self.next_head {
            self.next_head = Instant::now() + HEAD_EVERY;
            self.sign_head();
            self.say_alive();
        }
        // A clock that jumped must not end the time of records.
        if self.trusts_clock() && Instant::now() >= self.next_retention {
            self.next_retention = Instant::now() + RETENTION_EVERY;
            if let Err(error) = self.delete_expired() {
                tracing::warn!(%error, "cannot delete segments whose time is over");
            }
        }
    }

    /// Tries to write again, with the record that says for how long nothing could be.
    fn resume(&mut self) {
        #[derive(Serialize)]
        struct Resumed {
            #[serde(rename = "@type")]
            kind: &'static str,
            since: String,
            failed: u64,
            cause: String,
        }
        let Some(failing) = &self.failing else {
            return;
        };
        let payload = Resumed {
            kind: "keystead.audit.Resumed",
            since: failing.since.to_string(),
            failed: failing.records,
            cause: failing.cause.clone(),
        };
        let content = entry::of_log_itself(&payload, (self.settings.clock)(), "ERROR", None);
        let records = failing.records;
        if self.write(std::iter::once(content.as_slice())).is_ok() {
            self.failing = None;
        } else if let Some(failing) = &mut self.failing {
            // The attempt itself is no call that failed.
            failing.records = records;
        }
    }

    fn trusts_clock(&mut self) -> bool {
        self.watch.look((self.settings.clock)(), Instant::now()).trusted
    }

    /// Dates the lock, but not by a clock that jumped: the next process must see the jump as well, or a restart would end the
    /// wait.
    fn say_alive(&mut self) {
        if self.trusts_clock() {
            files::say_alive(&self.lock, (self.settings.clock)());
        }
    }

    /// Stops writing to a segment that was removed or replaced: the next record begins another, in a file that is there.
    fn leave_lost_segment(&mut self) {
        // One after the other: a damage that cannot be recorded is not replaced by the next.
        if self.damage.is_some() {
            return;
        }
        let Some(lost) = self.active.take_if(|active| !active.is_in_place()) else {
            return;
        };
        if lost.len == 0 {
            return;
        }
        let (path, first, through) = (lost.path().display(), lost.first, self.head.sequence);
        tracing::error!(
            %path,
            first,
            through,
            "a segment of the audit log was removed or replaced while it was written: its records are lost, unless somebody moved it \
             and brings it back; the next record begins another segment"
        );
        self.shared.metrics.one_more_damaged();
        self.damage = Some(Damaged::segment(lost.path(), first, through));
    }

    /// Says once what is damaged: after lines that are no records the next start finds one, and after a lost segment the chain goes
    /// on in the next.
    fn record_damage(&mut self) {
        let Some(damage) = &self.damage else {
            return;
        };
        let content = entry::of_log_itself(damage, (self.settings.clock)(), "ERROR", None);
        match self.write(std::iter::once(content.as_slice())) {
            Ok(()) => self.damage = None,
            Err(error) => tracing::warn!(%error, "the damage of the audit log is not recorded yet"),
        }
    }

    fn record_refusals(&mut self, now: Option<Timestamp>) {
        let taken = self.shared.refusals.take(now);
        if taken.is_empty() {
            return;
        }
        let time = (self.settings.clock)();
        let contents: Vec<_> =
            taken.iter().map(|(key, counts)| refusals::content(key, counts, time)).collect();
        if let Err(error) = self.write(contents.iter().map(Vec::as_slice)) {
            tracing::warn!(%error, "refusals of unknown callers are not recorded yet");
            self.shared.refusals.put_back(taken);
        }
    }

    fn seal_when_due(&mut self) {
        let now = (self.settings.clock)();
        let due = self.active.as_ref().is_some_and(|active| {
            let age = active.started.map_or(SignedDuration::ZERO, |it| now.duration_since(it));
            let old = age.is_positive() && age.unsigned_abs() >= self.settings.segment_age;
            active.len >= self.settings.segment_bytes || (active.len > 0 && old)
        });
        if due
            && self.failing.is_none()
            && let Err(error) = self.seal(now)
        {
            tracing::warn!(%error, "cannot seal a segment of the audit log; it goes on");
        }
    }

    /// Ends the segment with a footer; the next record begins another.
    fn seal(&mut self, now: Timestamp) -> Result<(), AuditError> {
        let Some(first) = self.active.as_ref().map(|it| it.first) else {
            return Ok(());
        };
        let footer = entry::of_footer(first, self.head.sequence, now);
        self.write(std::iter::once(footer.as_slice()))?;
        if let Some(active) = self.active.take() {
            active.seal();
        }
        self.next_retention = Instant::now();
        Ok(())
    }

    fn sign_head(&mut self) {
        let Some(SignedHeads { signer, file }) = &self.settings.signed_heads else {
            return;
        };
        if self.signed == self.head.sequence {
            return;
        }
        match files::replace(file, &signer.sign(&self.head).to_string()) {
            Ok(()) => self.signed = self.head.sequence,
            Err(error) => tracing::warn!(path = %file.display(), %error, "cannot write the signed head"),
        }
    }

    fn delete_expired(&mut self) -> Result<(), AuditError> {
        let Some(kept) = self.settings.retention.and_then(|it| SignedDuration::try_from(it).ok()) else {
            return Ok(());
        };
        let now = (self.settings.clock)();
        let Ok(before) = now.checked_sub(kept) else {
            return Ok(());
        };
        let Some(expired) = retention::expired(&self.shared.dir, before)? else {
            return Ok(());
        };
        let content = expired.content(now);
        self.write(std::iter::once(content.as_slice()))?;
        tracing::info!(through = expired.through, "deleting audit records whose time is over");
        expired.delete(&self.shared.dir)
    }

    pub(crate) fn publish_state(&self) {
        let (used, size) = (self.reserve.used(), self.reserve.size());
        let state = if self.failing.is_some() { LogState::Full } else { LogState::of(used, size) };
        self.shared.metrics.space(state, used, size);
        let before = self.shared.admission.state();
        self.shared.admission.set(state);
        match (before.cmp(&state), state) {
            (std::cmp::Ordering::Equal, _) => {}
            (_, LogState::Normal) => tracing::info!("the audit log has room again"),
            (_, LogState::Full) => {
                let cause = self.failing.as_ref().map(|it| it.cause.as_str());
                tracing::error!(cause, "nothing can be recorded: every call is refused until it can");
            }
            _ => {
                tracing::warn!(?state, used, reserve = size, "the audit log lives on its reserve: make room")
            }
        }
    }
}
