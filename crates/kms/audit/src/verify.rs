//! Reads a whole log as somebody who trusts nobody: every hash, every link, every footer.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::files::{self, SegmentFile};
use crate::retention::{self, Deleted};
use crate::segment::{Lines, Next};
use crate::{AuditError, Hash, Head, entry, line};
use jiff::Timestamp;

/// A log without a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records were read, those of the log itself included.
    pub records: u64,
    /// The sequence of the oldest record; later than 1 when older ones were deleted because their time was over, and the
    /// chain says so.
    pub first: u64,
    /// The newest record.
    pub head: Head,
    /// How many segments there are.
    pub segments: usize,
    /// Whether the head that was given is in the log. Otherwise it is older than the oldest record.
    pub head_found: bool,
    /// Bytes of a record at the end that is not whole: it is just being written, or was when the process died.
    pub torn: u64,
}

/// Why a log cannot be called good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The first problem.
    #[error("{0}")]
    Problem(Problem),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(AuditError),
}

/// Something that the server that writes the log never does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The segment, or the directory when there is none.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// Kinds of problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A line that is no record, or no longer what it was.
    Altered(String),
    /// Records that should come before this one are gone.
    Missing {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A record with a sequence that was already there: repeated, or moved.
    Repeated {
        /// Its sequence.
        sequence: u64,
    },
    /// The record before this one, or this one, was replaced by another with a hash that is right in itself.
    Replaced,
    /// The segment has no footer, though another one follows.
    NotSealed,
    /// A footer that does not describe its segment, or a line after it.
    Footer,
    /// Records before the oldest one are gone, and no record says that their time was over.
    Beheaded {
        /// The oldest record that is there.
        first: u64,
    },
    /// The log ends before the head that was kept.
    Truncated {
        /// The newest record that is there.
        last: u64,
        /// The head that was kept.
        kept: u64,
    },
    /// Another record stands where the head that was kept should be.
    Rewritten {
        /// The head that was kept.
        kept: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.path.display(), self.line)?;
        match &self.kind {
            ProblemKind::Altered(problem) => write!(f, "{problem}"),
            ProblemKind::Missing { first, last } if first == last => {
                write!(f, "record {first} is missing before this line")
            }
            ProblemKind::Missing { first, last } => {
                write!(f, "records {first} to {last} are missing before this line")
            }
            ProblemKind::Repeated { sequence } => {
                write!(f, "record {sequence} stands here once more, or in the wrong place")
            }
            ProblemKind::Replaced => {
                write!(f, "does not follow the line before it: one of them was replaced")
            }
            ProblemKind::NotSealed => {
                write!(f, "the segment ends here without a footer, though another one follows")
            }
            ProblemKind::Footer => write!(f, "the footer does not belong here"),
            ProblemKind::Beheaded { first } => {
                write!(
                    f,
                    "the log begins with record {first}, and no record says that older ones were deleted"
                )
            }
            ProblemKind::Truncated { last, kept } => {
                write!(
                    f,
                    "the log ends with record {last}, but its head was once record {kept}: it was cut off"
                )
            }
            ProblemKind::Rewritten { kept } => {
                write!(f, "record {kept} is not the one whose hash was kept: the log was rewritten")
            }
        }
    }
}

/// Reads all of a log and says the first problem. `head` is one that was kept elsewhere: without it, nobody can see that
/// the end was cut off, or that somebody who could write the directory made a new chain.
///
/// The log may be in use.
pub fn verify(dir: &Path, head: Option<&Head>) -> Result<Verified, VerifyError> {
    let segments = files::segments(dir).map_err(VerifyError::Unreadable)?;
    let mut walk = Walk {
        kept: head,
        newest: Head::NONE,
        first: None,
        deleted: Vec::new(),
        records: 0,
        head_found: head.is_some_and(|it| it.sequence == 0),
        torn: 0,
        content: Vec::new(),
        path: dir.to_owned(),
        line: 0,
    };
    for (index, segment) in segments.iter().enumerate() {
        walk.segment(segment, index + 1 == segments.len())?;
    }
    walk.end(&segments)
}

struct Walk<'a> {
    kept: Option<&'a Head>,
    newest: Head,
    /// Sequence of the oldest record, and what it has for its previous one.
    first: Option<(u64, Hash)>,
    /// What records say was deleted.
    deleted: Vec<Deleted>,
    records: u64,
    head_found: bool,
    torn: u64,
    /// Of the newest record.
    content: Vec<u8>,
    path: PathBuf,
    line: u64,
}

impl Walk<'_> {
    fn segment(&mut self, segment: &SegmentFile, last: bool) -> Result<(), VerifyError> {
        self.path.clone_from(&segment.path);
        self.line = 1;
        let mut lines = Lines::open(&segment.path, u64::MAX).map_err(VerifyError::Unreadable)?;
        let mut sealed = false;
        loop {
            let next = lines.next().map_err(|error| match error {
                AuditError::Damaged { line, problem, .. } => {
                    self.line = line;
                    self.problem(ProblemKind::Altered(problem))
                }
                other => VerifyError::Unreadable(other),
            })?;
            match next {
                Next::End => break,
                Next::Torn(bytes) if last && !sealed => {
                    self.torn = bytes;
                    break;
                }
                Next::Torn(_) => {
                    self.line = lines.number();
                    return Err(self.problem(ProblemKind::Altered("is not a whole line".into())));
                }
                Next::Line(_) if sealed => {
                    self.line = lines.number();
                    return Err(self.problem(ProblemKind::Footer));
                }
                Next::Line(text) => {
                    sealed = self.record(text, segment)?;
                    self.line += 1;
                }
            }
        }
        self.line = self.line.saturating_sub(1).max(1);
        if !sealed && !last { Err(self.problem(ProblemKind::NotSealed)) } else { Ok(()) }
    }

    /// Checks one line. True when it is a footer.
    fn record(&mut self, text: &[u8], segment: &SegmentFile) -> Result<bool, VerifyError> {
        let line = line::read(text).map_err(|it| self.problem(ProblemKind::Altered(it.to_string())))?;
        let expected = if self.first.is_none() { segment.first } else { self.newest.sequence + 1 };
        if line.sequence < expected {
            return Err(self.problem(ProblemKind::Repeated { sequence: line.sequence }));
        }
        if line.sequence > expected {
            let kind = ProblemKind::Missing { first: expected, last: line.sequence - 1 };
            return Err(self.problem(kind));
        }
        if self.line == 1 && line.sequence != segment.first {
            let text = format!("is record {}, which the file's name does not say", line.sequence);
            return Err(self.problem(ProblemKind::Altered(text)));
        }
        if self.first.is_some() && line.previous != self.newest.hash {
            return Err(self.problem(ProblemKind::Replaced));
        }
        if line.sequence == 1 && line.previous != Hash::NONE {
            return Err(self.problem(ProblemKind::Replaced));
        }
        if let Some(kept) = self.kept.filter(|it| it.sequence == line.sequence) {
            if kept.hash != line.hash {
                return Err(self.problem(ProblemKind::Rewritten { kept: kept.sequence }));
            }
            self.head_found = true;
        }
        let footer = entry::is_own(line.content, entry::FOOTER);
        if footer
            && !entry::footer(line.content)
                .is_some_and(|it| it.describes(segment.first, self.newest.sequence))
        {
            return Err(self.problem(ProblemKind::Footer));
        }
        self.deleted.extend(retention::deleted(line.content));
        self.first.get_or_insert((line.sequence, line.previous));
        self.newest = Head { sequence: line.sequence, hash: line.hash, time: Timestamp::UNIX_EPOCH };
        self.content.clear();
        self.content.extend_from_slice(line.content);
        self.records += 1;
        Ok(footer)
    }

    fn end(self, segments: &[SegmentFile]) -> Result<Verified, VerifyError> {
        let first = self.first.map_or(0, |it| it.0);
        if let Some((first, previous)) = self.first.filter(|it| it.0 > 1) {
            let said = |it: &Deleted| it.deleted_through + 1 == first && it.hash == previous.to_string();
            if !self.deleted.iter().any(said) {
                let oldest = segments.first().map_or(self.path.clone(), |it| it.path.clone());
                let kind = ProblemKind::Beheaded { first };
                return Err(VerifyError::Problem(Problem { path: oldest, line: 1, kind }));
            }
        }
        if let Some(kept) = self.kept.filter(|it| it.sequence > self.newest.sequence) {
            let kind = ProblemKind::Truncated { last: self.newest.sequence, kept: kept.sequence };
            return Err(self.problem(kind));
        }
        Ok(Verified {
            records: self.records,
            first,
            head: Head { time: entry::timestamp(&self.content).unwrap_or(self.newest.time), ..self.newest },
            segments: segments.len(),
            head_found: self.head_found,
            torn: self.torn,
        })
    }

    fn problem(&self, kind: ProblemKind) -> VerifyError {
        VerifyError::Problem(Problem { path: self.path.clone(), line: self.line, kind })
    }
}
