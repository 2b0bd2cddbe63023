//! Finds the end of a log at start. Sealed segments are looked at only where they meet; the newest is read whole.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;

use crate::active::{Active, SEALED_MODE};
use crate::files::{self, SegmentFile};
use crate::segment::{self, Lines, Next};
use crate::{AuditError, Head, Recovered, entry, line};

/// The end of a log as it was found.
pub(crate) struct Found {
    pub head: Head,
    /// The segment that goes on, when the newest is not sealed.
    pub active: Option<Active>,
    /// What was cut off.
    pub recovered: Option<Recovered>,
}

/// Reads the log in `dir`, and cuts off a record that was never written whole.
pub(crate) fn find(dir: &Path) -> Result<Found, AuditError> {
    let segments = files::segments(dir)?;
    let Some((newest, sealed)) = segments.split_last() else {
        return Ok(Found { head: Head::NONE, active: None, recovered: None });
    };
    let mut before: Option<Head> = None;
    for segment in sealed {
        let ends = segment::ends(segment)?;
        follows(segment, before.as_ref(), ends.previous)?;
        before = Some(Head { sequence: ends.last, hash: ends.hash, time: Timestamp::UNIX_EPOCH });
    }
    read_newest(newest, before)
}

fn follows(segment: &SegmentFile, before: Option<&Head>, previous: crate::Hash) -> Result<(), AuditError> {
    let Some(before) = before else {
        return Ok(());
    };
    if segment.first != before.sequence + 1 || previous != before.hash {
        let problem =
            format!("does not follow record {}, with which the segment before it ends", before.sequence);
        return Err(AuditError::damaged(&segment.path, 1, problem));
    }
    Ok(())
}

fn read_newest(segment: &SegmentFile, before: Option<Head>) -> Result<Found, AuditError> {
    let path = segment.path.as_path();
    let mut lines = Lines::open(path, u64::MAX)?;
    let mut head = None;
    let mut started = None;
    let mut sealed = false;
    let mut torn = 0;
    let mut content = Vec::new();
    loop {
        let at = lines.number() + 1;
        let text = match lines.next()? {
            Next::Line(text) => text,
            Next::Torn(bytes) => {
                torn = bytes;
                break;
            }
            Next::End => break,
        };
        let damaged = |problem: String| AuditError::damaged(path, at, problem);
        let line = line::read(text).map_err(|error| damaged(error.to_string()))?;
        let newest: Option<Head> = head.or(before);
        if sealed {
            return Err(damaged("follows the footer, with which a segment ends".into()));
        }
        let expected = head.map_or(segment.first, |it| it.sequence + 1);
        if line.sequence != expected {
            return Err(damaged(format!("has sequence {}, and {expected} was to come", line.sequence)));
        }
        if newest.is_some_and(|it| it.hash != line.previous || it.sequence + 1 != line.sequence) {
            return Err(damaged("does not follow the record before it".into()));
        }
        sealed = entry::footer(line.content).is_some();
        if started.is_none() {
            started = entry::timestamp(line.content);
        }
        content.clear();
        content.extend_from_slice(line.content);
        head = Some(Head { sequence: line.sequence, hash: line.hash, time: Timestamp::UNIX_EPOCH });
    }
    let (len, last) = (lines.offset(), lines.number());
    let mut head = match (head, before) {
        (Some(head), _) | (None, Some(head)) => head,
        (None, None) if segment.first == 1 => Head::NONE,
        (None, None) => return Err(AuditError::damaged(path, 1, "is empty, and nothing is before it")),
    };
    if segment.first > head.sequence + 1 {
        return Err(AuditError::damaged(path, 1, format!("record {} is missing", head.sequence + 1)));
    }
    head.time = entry::timestamp(&content).unwrap_or(head.time);
    if sealed {
        // The process may have ended between the footer and this.
        fs::set_permissions(path, Permissions::from_mode(SEALED_MODE))
            .map_err(AuditError::io("set the mode of", path))?;
        if torn > 0 {
            return Err(AuditError::damaged(path, last, "follows the footer, with which a segment ends"));
        }
        return Ok(Found { head, active: None, recovered: None });
    }
    let recovered = (torn > 0).then(|| Recovered { path: path.to_owned(), bytes: torn });
    let active = Active::resume(path, segment.first, len, started)?;
    Ok(Found { head, active: Some(active), recovered })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_with_a_line_of_megabytes_opens() {
        let dir = tempfile::tempdir().expect("a directory");
        files::prepare(dir.path()).expect("made");
        let mut segment = Vec::new();
        let mut previous = crate::Hash::NONE;
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
    }
}
