use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::files::{self, SegmentFile};
use crate::segment::{Lines, MAX_LINE, Next, READ_BUFFER};
use crate::{AuditError, line};

/// Reads a log in order while it grows, from any record on. It takes no lock and may run in another process.
pub struct Reader {
    dir: PathBuf,
    /// The record that was read last.
    after: u64,
    place: Option<Place>,
    lost: u64,
}

/// Where the next line begins.
struct Place {
    path: PathBuf,
    reader: BufReader<File>,
    offset: u64,
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLine {
    /// Its number.
    pub sequence: u64,
    /// The line, without its line feed: a JSON object.
    pub text: String,
}

impl Reader {
    /// Reads what comes after a record; 0 for all.
    pub fn after(dir: &Path, sequence: u64) -> Self {
        Self { dir: dir.to_owned(), after: sequence, place: None, lost: 0 }
    }

    /// Reads the newest `count` records and what comes after them.
    pub fn newest(dir: &Path, count: u64) -> Result<Self, AuditError> {
        let mut newest = 0;
        if let Some(SegmentFile { first, path }) = files::segments(dir)?.last() {
            newest = first.saturating_sub(1);
            let mut lines = Lines::open(path, u64::MAX)?;
            while let Next::Line(_) = lines.next()? {
                newest += 1;
            }
        }
        let reader = Self::after(dir, newest.saturating_sub(count));
        Ok(reader)
    }

    /// The next record; none: there is none yet. Records that were deleted before they were read are skipped.
    pub fn next_record(&mut self) -> Result<Option<RecordLine>, AuditError> {
        loop {
            let Some(place) = &mut self.place else {
                if !self.find()? {
                    return Ok(None);
                }
                continue;
            };
            let Some(text) = place.line()? else {
                // This segment has no more. Either it grows, or the next one begins with the next record.
                let next = files::segment_path(&self.dir, self.after + 1);
                if next == place.path || !next.exists() {
                    // Opened again, because what was half a record may be another one next time.
                    self.place = Some(Place::open(place.path.clone(), place.offset)?);
                    return Ok(None);
                }
                self.place = Some(Place::open(next, 0)?);
                continue;
            };
            let (sequence, _) = line::start(text.as_bytes())
                .ok_or_else(|| AuditError::damaged(&place.path, 0, "holds a line that is not a record"))?;
            if sequence > self.after {
                self.lost += sequence - self.after - 1;
                self.after = sequence;
                return Ok(Some(RecordLine { sequence, text }));
            }
        }
    }

    /// How many records were deleted before they were read.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Looks for the segment with the next record. False when there is none.
    fn find(&mut self) -> Result<bool, AuditError> {
        let segments = files::segments(&self.dir)?;
        let wanted = self.after + 1;
        let at = segments.partition_point(|it| it.first <= wanted);
        // Where the oldest is later than what is wanted, the time of the records between was over.
        let Some(SegmentFile { path, .. }) = segments.get(at.saturating_sub(1)) else {
            return Ok(false);
        };
        let mut place = Place::open(path.clone(), 0)?;
        // Up to the record that was read last.
        loop {
            let before = place.offset;
            let text = place.line()?;
            let read = text.and_then(|it| line::start(it.as_bytes())).is_some_and(|it| it.0 <= self.after);
            if !read {
                self.place = Some(Place::open(path.clone(), before)?);
                return Ok(true);
            }
        }
    }
}

impl Place {
    fn open(path: PathBuf, offset: u64) -> Result<Self, AuditError> {
        let open = || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            io::Result::Ok(BufReader::with_capacity(READ_BUFFER, file))
        };
        let reader = open().map_err(AuditError::io("open", &path))?;
        Ok(Self { path, reader, offset })
    }

    /// The next whole line.
    fn line(&mut self) -> Result<Option<String>, AuditError> {
        let mut line = Vec::new();
        let mut part = io::Read::take(&mut self.reader, MAX_LINE);
        let read = part.read_until(b'\n', &mut line).map_err(AuditError::io("read", &self.path))?;
        if line.pop() != Some(b'\n') {
            return Ok(None);
        }
        self.offset += read as u64;
        let text = String::from_utf8(line);
        text.map(Some).map_err(|_| AuditError::damaged(&self.path, 0, "holds a line that is no text"))
    }
}
