//! The one thread that writes. It takes all that waits, writes it with one call, syncs once, and then tells everyone.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::log::{Durable, Shared};
use crate::queue::Job;
use crate::recover::SEALED_MODE;
use crate::{AuditError, AuditSettings, Head, Position, entry, files, line};

/// How often the writer looks at ages when nothing arrives.
const TICK: Duration = Duration::from_secs(1);

/// The segment that grows.
pub(crate) struct Active {
    pub file: File,
    pub path: PathBuf,
    /// The sequence of its first record.
    pub first: u64,
    /// Bytes that are durable. What is after them was never acknowledged.
    pub len: u64,
    /// The time of its first record; none while it is empty.
    pub started: Option<Timestamp>,
    /// A write failed and what it left behind is not yet cut off.
    pub damaged: bool,
}

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    pub settings: AuditSettings,
    pub head: Head,
    pub active: Option<Active>,
    /// Lines of one group; kept, because groups are alike in size.
    pub buffer: Vec<u8>,
    /// Gone when the thread ends.
    pub lock: File,
}

impl Writer {
    /// Until the log is closed and everything that was left is written.
    pub(crate) fn run(mut self) {
        loop {
            let taken = self.shared.queue.take(TICK);
            if taken.jobs.is_empty() && taken.closed {
                break;
            }
            self.group(taken.jobs);
            self.seal_when_due();
        }
        drop(self.lock);
    }

    /// Writes one group, and tells everyone who waits for a part of it.
    fn group(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let first = self.head.sequence + 1;
        let written = self.write(jobs.iter().map(|it| it.content.as_slice()));
        for (job, sequence) in jobs.into_iter().zip(first..) {
            if let Some(done) = job.done {
                // Whoever has gone away does not want to know.
                drop(done.send(written.clone().map(|()| Position { sequence })));
            }
        }
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
        self.ensure_active()?;
        let Some(active) = &mut self.active else {
            return Err(AuditError::Closed);
        };
        active.append(&self.buffer)?;
        active.started.get_or_insert(now);
        self.head = head;
        let segment = Some((active.first, active.len));
        self.shared.durable.send_replace(Durable { head, segment });
        Ok(())
    }

    /// Begins a segment when there is none, or cuts off what a failed write left behind.
    fn ensure_active(&mut self) -> Result<(), AuditError> {
        if let Some(active) = &mut self.active {
            return active.repair();
        }
        let first = self.head.sequence + 1;
        let dir = &self.shared.dir;
        let path = files::segment_path(dir, first);
        // It may be there, empty, after a failure between the two calls.
        let file = files::create(&path, false).map_err(AuditError::io("make", &path))?;
        files::sync_directory(dir).map_err(AuditError::io("sync", dir))?;
        self.active = Some(Active { file, path, first, len: 0, started: None, damaged: false });
        Ok(())
    }

    fn seal_when_due(&mut self) {
        let now = (self.settings.clock)();
        let due = self.active.as_ref().is_some_and(|active| {
            let age = active.started.map(|it| now.duration_since(it));
            active.len >= self.settings.segment_bytes
                || age.is_some_and(|it| it.unsigned_abs() >= self.settings.segment_age && it.is_positive())
        });
        if due && let Err(error) = self.seal(now) {
            tracing::warn!(%error, "cannot seal a segment of the audit log; it goes on");
        }
    }

    /// Ends the segment with a footer; the next record begins another.
    fn seal(&mut self, now: Timestamp) -> Result<(), AuditError> {
        let Some(first) = self.active.as_ref().filter(|it| it.len > 0).map(|it| it.first) else {
            return Ok(());
        };
        let footer = entry::of_footer(first, self.head.sequence, now);
        self.write(std::iter::once(footer.as_slice()))?;
        if let Some(sealed) = self.active.take() {
            let read_only = sealed.file.set_permissions(Permissions::from_mode(SEALED_MODE));
            if let Err(error) = read_only.and_then(|()| sealed.file.sync_all()) {
                tracing::warn!(path = %sealed.path.display(), %error, "cannot make a sealed segment read-only");
            }
        }
        Ok(())
    }
}

impl Active {
    fn append(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        let written = self.file.write_all_at(bytes, self.len).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.damaged = true;
            let error = AuditError::io("write", &self.path)(error);
            // Again before the next record, should it fail now.
            self.repair()
                .unwrap_or_else(|repair| tracing::warn!(error = %repair, "the audit log's tail stays"));
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// After a failed sync nobody knows what is on the disk, so that all of the group goes: nobody was told that it is there.
    fn repair(&mut self) -> Result<(), AuditError> {
        if self.damaged {
            let cut: io::Result<()> = self.file.set_len(self.len).and_then(|()| self.file.sync_all());
            cut.map_err(AuditError::io("cut", &self.path))?;
            self.damaged = false;
        }
        Ok(())
    }
}
