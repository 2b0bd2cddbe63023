//! Finds the end of a log at start. Only the end must be good: what is damaged is named, and the log goes on behind it.
//!
//! Of sealed segments only the ends are looked at; the newest is read whole.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::active::{Active, SEALED_MODE};
use crate::chain::Chain;
use crate::files::{self, SegmentFile};
use crate::line::LineError;
use crate::segment::{self, Ends, Lines, Next};
use crate::{AuditError, Hash, Head, Problem, ProblemKind, entry};

/// Problems that are kept. Whoever wants all of them verifies the log.
const MOST_PROBLEMS: usize = 16;

/// A record that was being written when the process before this one died, and that nobody was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The segment from which it was cut off.
    pub path: PathBuf,
    /// How many bytes of it there were.
    pub bytes: u64,
}

/// The end of a log as it was found.
pub(crate) struct Found {
    pub head: Head,
    /// The segment that goes on, when the newest is not sealed.
    pub active: Option<Active>,
    /// What was cut off.
    pub recovered: Option<Recovered>,
    /// What is damaged.
    pub problems: Vec<Problem>,
    /// Lines behind the newest record that are no records. The head counts them: each may have been one.
    pub stepped_over: u64,
}

/// Reads the log in `dir`, and cuts off a record that was never written whole.
pub(crate) fn find(dir: &Path) -> Result<Found, AuditError> {
    let segments = files::segments(dir)?;
    let Some((newest, sealed)) = segments.split_last() else {
        return Ok(Found {
            head: Head::NONE,
            active: None,
            recovered: None,
            problems: Vec::new(),
            stepped_over: 0,
        });
    };
    let mut problems = Vec::new();
    let before = meet(sealed, newest, &mut problems);
    let mut found = read_newest(newest, before.as_ref(), problems)?;
    if found.head.hash == Hash::NONE && found.head.sequence > 0 {
        found.head.hash = newest_hash(sealed)?;
    }
    found.problems.truncate(MOST_PROBLEMS);
    Ok(found)
}

/// Looks at the places where segments meet. The end of the last sealed one, where it can be read.
fn meet(sealed: &[SegmentFile], newest: &SegmentFile, problems: &mut Vec<Problem>) -> Option<Ends> {
    let mut before: Option<Ends> = None;
    for segment in sealed {
        let ends = match segment::ends(segment) {
            Ok(ends) => ends,
            Err(problem) => {
                problems.push(problem);
                before = None;
                continue;
            }
        };
        let kind = match &before {
            Some(before) if segment.first != before.last + 1 => Some(gap(before, segment)),
            Some(before) if before.hash != ends.previous => Some(ProblemKind::Replaced),
            _ => None,
        };
        problems.extend(kind.map(|kind| Problem { path: segment.path.clone(), line: 1, kind }));
        before = Some(ends);
    }
    if let Some(before) = before.take_if(|it| it.last + 1 != newest.first) {
        let kind = gap(&before, newest);
        problems.push(Problem { path: newest.path.clone(), line: 1, kind });
    }
    before
}

fn gap(before: &Ends, segment: &SegmentFile) -> ProblemKind {
    if segment.first <= before.last {
        return ProblemKind::Repeated { sequence: segment.first };
    }
    ProblemKind::Missing { first: before.last + 1, last: segment.first - 1 }
}

fn read_newest(
    segment: &SegmentFile,
    before: Option<&Ends>,
    mut problems: Vec<Problem>,
) -> Result<Found, AuditError> {
    let path = segment.path.as_path();
    let before_it = problems.len();
    let mut lines = Lines::open(path, u64::MAX)?;
    let known = before.map(|it| it.hash).or((segment.first <= 1).then_some(Hash::NONE));
    let mut chain = Chain::after(segment.first.saturating_sub(1), known);
    let mut started = None;
    let mut sealed = false;
    let mut torn = 0;
    let mut room = false;
    let mut content = Vec::new();
    loop {
        let (from, line) = (lines.at().offset, lines.at().lines + 1);
        let mut problem = |kind| {
            if problems.len() < MOST_PROBLEMS {
                problems.push(Problem { path: path.to_owned(), line, kind });
            }
        };
        let next = lines.next()?;
        if matches!(next, Next::Room | Next::Damaged(LineError::Zeros)) {
            room = matches!(next, Next::Room) && !lines.skip_zeros()?;
            if room {
                break;
            }
            fill_zeros(path, from).map_err(AuditError::io("mark the damage of", path))?;
            problems.truncate(before_it);
            return read_newest(segment, before, problems);
        }
        match next {
            Next::End | Next::Room => break,
            Next::Torn(bytes) => {
                torn = bytes;
                break;
            }
            Next::Damaged(error) => {
                problem(ProblemKind::Altered(error.to_string()));
                chain.step_over();
            }
            Next::Record(line) => {
                if sealed {
                    problem(ProblemKind::Footer);
                }
                if let Some(kind) = chain.follow(&line) {
                    problem(kind);
                }
                sealed |= entry::footer(line.content).is_some();
                started = started.or_else(|| entry::timestamp(line.content));
                content.clear();
                content.extend_from_slice(line.content);
            }
        }
    }
    let head = Head {
        sequence: chain.newest(),
        hash: chain.hash().unwrap_or(Hash::NONE),
        time: entry::timestamp(&content).unwrap_or(Timestamp::UNIX_EPOCH),
    };
    let found = Found { head, active: None, recovered: None, problems, stepped_over: chain.damaged() };
    if sealed {
        // The process may have ended between the footer and this.
        if room {
            let cut = OpenOptions::new().write(true).open(path).and_then(|it| it.set_len(lines.at().offset));
            cut.map_err(AuditError::io("cut", path))?;
        }
        fs::set_permissions(path, Permissions::from_mode(SEALED_MODE))
            .map_err(AuditError::io("set the mode of", path))?;
        // Whatever follows a footer stays where it is; the next record begins a segment.
        return Ok(found);
    }
    let recovered = (torn > 0).then(|| Recovered { path: path.to_owned(), bytes: torn });
    let active = Active::resume(path, segment.first, lines.at().offset, started)?;
    Ok(Found { active: Some(active), recovered, ..found })
}

/// Makes lines of spaces of the zero bytes from `from` on that have something behind them, so that they are damage for every
/// reader, and not the end of the records. A power cut in the middle of a write leaves them, or a disk that lost a page.
fn fill_zeros(path: &Path, from: u64) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len().saturating_sub(from)).unwrap_or_default()];
    file.read_exact_at(&mut bytes, from)?;
    let end = bytes.iter().rposition(|it| *it != 0).map_or(0, |it| it + 1);
    bytes.truncate(end);
    let mut behind = b'\n';
    for byte in bytes.iter_mut().rev() {
        let before = std::mem::replace(&mut behind, *byte);
        if *byte == 0 {
            // What comes behind the zeros may be a whole record.
            *byte = if [0, b'\n'].contains(&before) { b' ' } else { b'\n' };
        }
    }
    file.write_all_at(&bytes, from)?;
    file.sync_all()
}

/// The hash of the newest record that can be read.
fn newest_hash(segments: &[SegmentFile]) -> Result<Hash, AuditError> {
    for segment in segments.iter().rev() {
        let mut hash = None;
        let mut lines = Lines::open(&segment.path, u64::MAX)?;
        loop {
            match lines.next()? {
                Next::Record(line) => hash = Some(line.hash),
                Next::Damaged(_) => {}
                Next::Torn(_) | Next::Room | Next::End => break,
            }
        }
        if let Some(hash) = hash {
            return Ok(hash);
        }
    }
    Ok(Hash::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line;

    #[test]
    fn a_log_with_a_line_of_megabytes_opens() {
        let dir = tempfile::tempdir().expect("a directory");
        files::prepare(dir.path()).expect("made");
        let mut segment = Vec::new();
        let mut previous = Hash::NONE;
        // As a server wrote it that bounded texts before they were escaped.
        for (sequence, len) in [(1, 10), (2, 1_500_000), (3, 10)] {
            let text = "\\u0001".repeat(len / 6);
            let content =
                format!(r#""timestamp":"2026-01-31T12:00:00Z","insertId":"{sequence}","x":"{text}""#);
            previous = line::write(&mut segment, sequence, previous, content.as_bytes());
        }
        fs::write(files::segment_path(dir.path(), 1), &segment).expect("written");
        let found = find(dir.path()).expect("it opens");
        assert_eq!((found.head.sequence, found.head.hash), (3, previous));
        assert_eq!(found.problems, []);
    }
}
