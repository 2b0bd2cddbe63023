//! Reading segments: line by line, or only the two ends of a sealed one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::entry;
use crate::files::SegmentFile;
use crate::line::{self, Line};
use crate::{AuditError, Hash};

/// Longest line that is read, in bytes. What is written is much shorter ([`entry::MAX_CONTENT`]); before that was so, one call
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
    /// The number of the line that was read last, from 1.
    number: u64,
    /// Where the line after it begins.
    offset: u64,
}

/// What was found where a line should be.
pub(crate) enum Next<'a> {
    /// A line.
    Line(&'a [u8]),
    /// The file ends without a line feed after so many bytes: a write that was cut off.
    Torn(u64),
    /// The file ends.
    End,
}

impl Lines {
    /// Reads at most `limit` bytes of a file.
    pub(crate) fn open(path: &Path, limit: u64) -> Result<Self, AuditError> {
        let file = File::open(path).map_err(AuditError::io("open", path))?;
        let reader = BufReader::with_capacity(READ_BUFFER, file.take(limit));
        Ok(Self { path: path.to_owned(), reader, line: Vec::new(), number: 0, offset: 0 })
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Result<Next<'_>, AuditError> {
        self.line.clear();
        let mut part = (&mut self.reader).take(MAX_LINE);
        let read = part.read_until(b'\n', &mut self.line).map_err(AuditError::io("read", &self.path))?;
        let len = read as u64;
        if read == 0 {
            return Ok(Next::End);
        }
        self.number += 1;
        match self.line.strip_suffix(b"\n") {
            Some(line) => {
                self.offset += len;
                Ok(Next::Line(line))
            }
            None if len == MAX_LINE => {
                Err(AuditError::damaged(&self.path, self.number, "is longer than any record"))
            }
            None => Ok(Next::Torn(len)),
        }
    }

    /// The number of the line that was read last, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes the lines have that were read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
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
pub(crate) fn ends(segment: &SegmentFile) -> Result<Ends, AuditError> {
    let path = segment.path.as_path();
    let mut file = File::open(path).map_err(AuditError::io("open", path))?;
    let len = file.metadata().map_err(AuditError::io("examine", path))?.len();
    let mut start = Vec::new();
    (&mut file).take(ENDS).read_to_end(&mut start).map_err(AuditError::io("read", path))?;
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(len.saturating_sub(ENDS)))
        .and_then(|_| file.read_to_end(&mut end))
        .map_err(AuditError::io("read", path))?;

    let (first, previous) =
        line::start(&start).ok_or_else(|| AuditError::damaged(path, 1, "is not a record"))?;
    if first != segment.first {
        return Err(AuditError::damaged(
            path,
            1,
            format!("has sequence {first}, not that of the file's name"),
        ));
    }
    let unsealed = || AuditError::damaged(path, 0, "does not end with a footer, though a segment follows");
    let text = end.strip_suffix(b"\n").ok_or_else(unsealed)?;
    let text = text.rsplit(|it| *it == b'\n').next().unwrap_or_default();
    let Line { sequence, hash, content, .. } = line::read(text).map_err(|_| unsealed())?;
    let footer = entry::footer(content).ok_or_else(unsealed)?;
    if sequence == 0 || !footer.describes(first, sequence - 1) {
        return Err(AuditError::damaged(path, footer.records + 1, "a footer that is not this segment's"));
    }
    Ok(Ends { previous, last: sequence, hash, time: entry::timestamp(content) })
}
