//! Reading segments: line by line, or only the two ends of a sealed one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::entry;
use crate::files::SegmentFile;
use crate::line::{self, Line, LineError};
use crate::{AuditError, Hash, Problem, ProblemKind};

/// Longest line that is read, in bytes; a longer one is damaged. What is written is much shorter ([`entry::MAX_CONTENT`]); before that was so, one call
/// could make a line of some megabytes, and a log with such a line must open.
pub(crate) const MAX_LINE: u64 = 16 << 20;
/// Larger than a footer's line and than the start of any line up to its previous hash.
const ENDS: u64 = 1024;
/// A segment is read at the disk's speed with this, and a line seldom straddles two reads.
pub(crate) const READ_BUFFER: usize = 256 * 1024;

/// Lines of one file, each without its line feed.
pub(crate) struct Lines {
    path: PathBuf,
    reader: BufReader<io::Take<File>>,
    line: Vec<u8>,
    at: At,
}

/// A place between two lines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct At {
    /// How many bytes are before it.
    pub offset: u64,
    /// How many lines are before it.
    pub lines: u64,
}

/// What was found where a line should be.
pub(crate) enum Next<'a> {
    /// A record.
    Record(Line<'a>),
    /// A line that is none. The next one begins behind its line feed.
    Damaged(LineError),
    /// The records end without a line feed after so many bytes: a write that was cut off.
    Torn(u64),
    /// A zero byte: room that no record was written into, unless something comes behind it ([`Lines::skip_zeros`]).
    Room,
    /// The file ends.
    End,
}

impl Lines {
    /// Reads at most `limit` bytes of a file.
    pub(crate) fn open(path: &Path, limit: u64) -> Result<Self, AuditError> {
        let file = File::open(path).map_err(AuditError::io("open", path))?;
        let reader = BufReader::with_capacity(READ_BUFFER, file.take(limit));
        Ok(Self { path: path.to_owned(), reader, line: Vec::new(), at: At::default() })
    }

    /// Reads a file from a place on where a line begins.
    pub(crate) fn open_at(path: &Path, at: At) -> Result<Self, AuditError> {
        let mut lines = Self::open(path, u64::MAX)?;
        let moved = lines.reader.get_mut().get_mut().seek(SeekFrom::Start(at.offset));
        moved.map_err(AuditError::io("read", path))?;
        lines.at = at;
        Ok(lines)
    }

    /// The next line. One that is damaged is no error, so that whoever reads can go on behind it.
    pub(crate) fn next(&mut self) -> Result<Next<'_>, AuditError> {
        self.line.clear();
        match self.reader.fill_buf().map_err(AuditError::io("read", &self.path))?.first() {
            None => return Ok(Next::End),
            Some(0) => return Ok(Next::Room),
            Some(_) => {}
        }
        let read = self.read_line().map_err(AuditError::io("read", &self.path))?;
        let Some(line) = self.line.strip_suffix(b"\n") else {
            let room = self.line.iter().rev().take_while(|it| **it == 0).count() as u64;
            return Ok(Next::Torn(read - room));
        };
        self.at.lines += 1;
        self.at.offset += read;
        if read > MAX_LINE {
            return Ok(Next::Damaged(LineError::Long));
        }
        Ok(line::read(line).map_or_else(
            |error| Next::Damaged(if line.contains(&0) { LineError::Zeros } else { error }),
            Next::Record,
        ))
    }

    /// Goes on behind zero bytes. False: the file has nothing else, and this place is where its records end.
    pub(crate) fn skip_zeros(&mut self) -> Result<bool, AuditError> {
        let mut skipped = 0;
        loop {
            let bytes = self.reader.fill_buf().map_err(AuditError::io("read", &self.path))?;
            let zeros = bytes.iter().take_while(|it| **it == 0).count();
            let (ended, more) = (bytes.is_empty(), zeros < bytes.len());
            self.reader.consume(zeros);
            skipped += zeros as u64;
            if more {
                self.at.offset += skipped;
            }
            if more || ended {
                return Ok(more);
            }
        }
    }

    /// Reads up to and with the line feed; how many bytes that were. Of a line that is too long it keeps only the line feed.
    fn read_line(&mut self) -> io::Result<u64> {
        let mut read = (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut self.line)? as u64;
        while read >= MAX_LINE && !self.line.ends_with(b"\n") {
            self.line.clear();
            let more = (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut self.line)? as u64;
            if more == 0 {
                break;
            }
            read += more;
        }
        Ok(read)
    }

    /// Behind the line that was read last.
    pub(crate) fn at(&self) -> At {
        self.at
    }
}

/// The two ends of a sealed segment.
pub(crate) struct Ends {
    /// What its first record has for its previous one.
    pub previous: Hash,
    /// Sequence and hash of the footer.
    pub last: u64,
    pub hash: Hash,
    /// When the footer was written.
    pub time: Option<Timestamp>,
}

/// Reads only the ends of a segment that should be sealed, and checks what they say of each other.
pub(crate) fn ends(segment: &SegmentFile) -> Result<Ends, Problem> {
    let path = segment.path.as_path();
    let problem = |line, kind| Problem { path: path.to_owned(), line, kind };
    let (start, end) =
        both_ends(path).map_err(|error| problem(0, ProblemKind::Unreadable(error.to_string())))?;
    let (first, previous) =
        line::start(&start).ok_or_else(|| problem(1, ProblemKind::Altered(LineError::Form.to_string())))?;
    if first != segment.first {
        return Err(problem(1, ProblemKind::misnamed(first)));
    }
    let unsealed = || problem(0, ProblemKind::NotSealed);
    let text = end.strip_suffix(b"\n").ok_or_else(unsealed)?;
    let text = text.rsplit(|it| *it == b'\n').next().unwrap_or_default();
    let Line { sequence, hash, content, .. } = line::read(text).map_err(|_| unsealed())?;
    let footer = entry::footer(content).ok_or_else(unsealed)?;
    if sequence == 0 || !footer.describes(first, sequence - 1) {
        return Err(problem(0, ProblemKind::Footer));
    }
    Ok(Ends { previous, last: sequence, hash, time: entry::timestamp(content) })
}

fn both_ends(path: &Path) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let (mut start, mut end) = (Vec::new(), Vec::new());
    (&mut file).take(ENDS).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(len.saturating_sub(ENDS)))?;
    file.read_to_end(&mut end)?;
    Ok((start, end))
}
