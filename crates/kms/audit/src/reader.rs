use std::path::{Path, PathBuf};

use crate::files::{self, SegmentFile};
use crate::segment::{At, Lines, Next};
use crate::{AuditError, Problem, ProblemKind};

/// Problems that a reader keeps until it is asked for them.
const MOST_PROBLEMS: usize = 16;

/// Reads a log in order while it grows, from any record on. It takes no lock and may run in another process. It steps over what
/// is damaged.
pub struct Reader {
    dir: PathBuf,
    /// The record that was read last.
    after: u64,
    place: Option<Place>,
    lost: u64,
    problems: Vec<Problem>,
}

/// An open segment.
struct Place {
    segment: SegmentFile,
    lines: Lines,
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
        Self { dir: dir.to_owned(), after: sequence, place: None, lost: 0, problems: Vec::new() }
    }

    /// Reads the newest `count` records and what comes after them.
    pub fn newest(dir: &Path, count: u64) -> Result<Self, AuditError> {
        let mut newest = 0;
        if let Some(SegmentFile { first, path }) = files::segments(dir)?.last() {
            newest = first.saturating_sub(1);
            let mut lines = Lines::open(path, u64::MAX)?;
            loop {
                match lines.next()? {
                    Next::Record(line) => newest = newest.max(line.sequence),
                    Next::Damaged(_) => {}
                    Next::Torn(_) | Next::Room | Next::End => break,
                }
            }
        }
        let reader = Self::after(dir, newest.saturating_sub(count));
        Ok(reader)
    }

    /// The next record; none: there is none yet. Records that were deleted before they were read, and damaged ones, are skipped.
    pub fn next_record(&mut self) -> Result<Option<RecordLine>, AuditError> {
        if self.place.is_none() && !self.find()? {
            return Ok(None);
        }
        while let Some(place) = &mut self.place {
            let line = place.lines.at().lines + 1;
            let kind = match place.lines.next()? {
                Next::Record(line) if line.sequence <= self.after => continue,
                Next::Record(line) => match str::from_utf8(line.text) {
                    Ok(text) => {
                        self.lost += line.sequence - self.after - 1;
                        self.after = line.sequence;
                        return Ok(Some(RecordLine { sequence: line.sequence, text: text.to_owned() }));
                    }
                    Err(_) => ProblemKind::Altered("is no text".to_owned()),
                },
                Next::Damaged(error) => ProblemKind::Altered(error.to_string()),
                Next::Torn(_) | Next::Room | Next::End => {
                    if self.go_on()? {
                        continue;
                    }
                    return Ok(None);
                }
            };
            if self.problems.len() < MOST_PROBLEMS {
                self.problems.push(Problem { path: place.segment.path.clone(), line, kind });
            }
        }
        Ok(None)
    }

    /// How many records were skipped.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What was damaged since this was asked last; at most 16 of it.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// Looks for the segment with the next record. False when there is none.
    fn find(&mut self) -> Result<bool, AuditError> {
        let segments = files::segments(&self.dir)?;
        let wanted = self.after.saturating_add(1);
        let at = segments.partition_point(|it| it.first <= wanted);
        // Where the oldest is later than what is wanted, the time of the records between was over.
        let Some(segment) = segments.get(at.saturating_sub(1)) else {
            return Ok(false);
        };
        let mut lines = Lines::open(&segment.path, u64::MAX)?;
        let mut behind = At::default();
        // Up to the record that was read last.
        loop {
            match lines.next()? {
                Next::Record(line) if line.sequence <= self.after => behind = lines.at(),
                Next::Damaged(_) => {}
                Next::Record(_) | Next::Torn(_) | Next::Room | Next::End => break,
            }
        }
        self.place = Some(Place::open(segment.clone(), behind)?);
        Ok(true)
    }

    /// The open segment has no more to read, as far as it was read ahead. Looks again, and opens the next one; false when there is
    /// nothing new.
    fn go_on(&mut self) -> Result<bool, AuditError> {
        let Some(Place { segment, lines }) = self.place.take() else {
            return Ok(false);
        };
        let next = files::segments(&self.dir)?.into_iter().find(|it| it.first > segment.first);
        // Opened again: what was room or half a record when it was read ahead may be another one by now. Before the next segment was
        // begun it may have grown as well.
        let mut again = Place::open(segment, lines.at())?;
        let grown = !matches!(again.lines.next()?, Next::Torn(_) | Next::Room | Next::End);
        let (place, found) = match next {
            Some(next) if !grown => ((next, At::default()), true),
            _ => ((again.segment, lines.at()), grown),
        };
        self.place = Some(Place::open(place.0, place.1)?);
        Ok(found)
    }
}

impl Place {
    fn open(segment: SegmentFile, at: At) -> Result<Self, AuditError> {
        let lines = Lines::open_at(&segment.path, at)?;
        Ok(Self { segment, lines })
    }
}
