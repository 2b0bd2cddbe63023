//! Reads a whole log as somebody who trusts nobody: every hash, every link, every footer.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::chain::Chain;
use crate::files::{self, SegmentFile};
use crate::line::{Line, LineError};
use crate::retention::{self, Deleted};
use crate::segment::{Lines, Next};
use crate::{AuditError, Hash, Head, Problem, ProblemKind, entry};

/// Problems that are kept; others are counted.
const MOST_PROBLEMS: usize = 100;

/// A log as it was read.
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
#[derive(Clone, Debug, thiserror::Error)]
pub enum VerifyError {
    /// It was read to its end, and there is something wrong with it.
    #[error(transparent)]
    Problems(Box<Problems>),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(AuditError),
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// In the order of the log; at most 100.
    pub problems: Vec<Problem>,
    /// How many there are besides these.
    pub others: u64,
    /// The rest of the log.
    pub verified: Verified,
}

impl std::error::Error for Problems {}

/// The first of them, and how many there are.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.problems.split_first() else {
            return write!(f, "no problem");
        };
        match rest.len() as u64 + self.others {
            0 => write!(f, "{first}"),
            more => write!(f, "{first} (and {more} more)"),
        }
    }
}

/// Reads all of a log, goes on behind what is wrong, and says all of it. `head` is one that was kept elsewhere: without it,
/// nobody can see that the end was cut off, or that somebody who could write the directory made a new chain.
///
/// The log may be in use.
pub fn verify(dir: &Path, head: Option<&Head>) -> Result<Verified, VerifyError> {
    let segments = files::segments(dir).map_err(VerifyError::Unreadable)?;
    let oldest = segments.first().map_or(1, |it| it.first);
    let mut walk = Walk {
        kept: head,
        chain: Chain::after(oldest.saturating_sub(1), (oldest <= 1).then_some(Hash::NONE)),
        first: None,
        deleted: Vec::new(),
        records: 0,
        head_found: head.is_some_and(|it| it.sequence == 0),
        torn: 0,
        newest: Head::NONE,
        content: Vec::new(),
        path: dir.to_owned(),
        line: 0,
        problems: Vec::new(),
        others: 0,
    };
    for (index, segment) in segments.iter().enumerate() {
        walk.segment(segment, index + 1 == segments.len()).map_err(VerifyError::Unreadable)?;
    }
    walk.end(&segments)
}

struct Walk<'a> {
    kept: Option<&'a Head>,
    chain: Chain,
    /// Sequence of the oldest record, and what it has for its previous one.
    first: Option<(u64, Hash)>,
    /// What records say was deleted.
    deleted: Vec<Deleted>,
    records: u64,
    head_found: bool,
    torn: u64,
    newest: Head,
    /// Of the newest record.
    content: Vec<u8>,
    path: PathBuf,
    line: u64,
    problems: Vec<Problem>,
    others: u64,
}

impl Walk<'_> {
    fn segment(&mut self, segment: &SegmentFile, last: bool) -> Result<(), AuditError> {
        self.path.clone_from(&segment.path);
        let mut lines = Lines::open(&segment.path, u64::MAX)?;
        let mut sealed = false;
        loop {
            self.line = lines.at().lines + 1;
            match lines.next()? {
                Next::End => break,
                Next::Room => {
                    if lines.skip_zeros()? {
                        self.problem(ProblemKind::Altered(LineError::Zeros.to_string()));
                        continue;
                    }
                    // A sealed segment has no room, but the process may have ended between the footer and the cut.
                    if !last {
                        self.problem(ProblemKind::Altered(LineError::Zeros.to_string()));
                    }
                    break;
                }
                Next::Torn(bytes) if last && !sealed => {
                    self.torn = bytes;
                    break;
                }
                Next::Torn(_) => {
                    self.problem(ProblemKind::Altered("is not a whole line".into()));
                    self.chain.step_over();
                    break;
                }
                Next::Damaged(error) => {
                    self.problem(ProblemKind::Altered(error.to_string()));
                    self.chain.step_over();
                }
                Next::Record(line) => {
                    if sealed {
                        self.problem(ProblemKind::Footer);
                    }
                    sealed |= self.record(&line, segment);
                }
            }
        }
        if !sealed && !last {
            self.line = lines.at().lines.max(1);
            self.problem(ProblemKind::NotSealed);
        }
        Ok(())
    }

    /// Checks one record. True when it is a footer.
    fn record(&mut self, line: &Line<'_>, segment: &SegmentFile) -> bool {
        let before = self.chain.newest();
        let first = self.line == 1;
        match self.chain.follow(line) {
            Some(kind @ ProblemKind::Repeated { .. }) => {
                self.problem(kind);
                return false;
            }
            Some(kind) => self.problem(kind),
            None if first && line.sequence != segment.first => {
                self.problem(ProblemKind::misnamed(line.sequence));
            }
            None => {}
        }
        if let Some(kept) = self.kept.filter(|it| it.sequence == line.sequence) {
            if kept.hash != line.hash {
                self.problem(ProblemKind::Rewritten { kept: kept.sequence });
            }
            self.head_found = true;
        }
        let footer = entry::is_own(line.content, entry::FOOTER);
        if footer && !entry::footer(line.content).is_some_and(|it| it.describes(segment.first, before)) {
            self.problem(ProblemKind::Footer);
        }
        self.deleted.extend(retention::deleted(line.content));
        self.first.get_or_insert((line.sequence, line.previous));
        self.newest = Head { sequence: line.sequence, hash: line.hash, time: Timestamp::UNIX_EPOCH };
        self.content.clear();
        self.content.extend_from_slice(line.content);
        self.records += 1;
        footer
    }

    fn end(mut self, segments: &[SegmentFile]) -> Result<Verified, VerifyError> {
        if let Some((first, previous)) = self.first.filter(|it| it.0 > 1) {
            let said = |it: &Deleted| it.deleted_through + 1 == first && it.hash == previous.to_string();
            let at_start = segments.first().is_some_and(|it| it.first == first);
            if at_start && !self.deleted.iter().any(said) {
                let oldest = segments.first().map_or(self.path.clone(), |it| it.path.clone());
                let problem = Problem { path: oldest, line: 1, kind: ProblemKind::Beheaded { first } };
                self.problems.insert(0, problem);
            }
        }
        if let Some(kept) = self.kept.filter(|it| it.sequence > self.chain.newest()) {
            self.line = self.line.saturating_sub(1).max(1);
            self.problem(ProblemKind::Truncated { last: self.newest.sequence, kept: kept.sequence });
        }
        let verified = Verified {
            records: self.records,
            first: self.first.map_or(0, |it| it.0),
            head: Head { time: entry::timestamp(&self.content).unwrap_or(self.newest.time), ..self.newest },
            segments: segments.len(),
            head_found: self.head_found,
            torn: self.torn,
        };
        if self.problems.is_empty() {
            return Ok(verified);
        }
        let Self { problems, others, .. } = self;
        Err(VerifyError::Problems(Box::new(Problems { problems, others, verified })))
    }

    fn problem(&mut self, kind: ProblemKind) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem { path: self.path.clone(), line: self.line, kind });
        } else {
            self.others += 1;
        }
    }
}
