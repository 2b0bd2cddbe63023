//! A point that the witness writes down, as a value and as text.

use keystead_audit::Hash;

/// How far the database and the audit log have come: a restored copy of either is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The number of the newest commit.
    pub(crate) counter: u64,
    /// The number of a record of the audit log.
    pub(crate) audit_sequence: u64,
    /// The hash of that record.
    pub(crate) audit_hash: Hash,
}

/// A point, and which write of the witness it was. The counter alone goes back when a rollback is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) serial: u64,
    pub(super) point: Point,
}

/// A point as text, as it stands in a slot and in a line of the history.
pub(super) fn print_point(written: &Written) -> String {
    let Written { serial, point } = written;
    format!("{serial} {} {} {}", point.counter, point.audit_sequence, point.audit_hash)
}

/// Reads what [`print_point`] printed.
pub(super) fn parse_point<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Written> {
    let serial = words.next()?.parse().ok()?;
    let counter = words.next()?.parse().ok()?;
    let audit_sequence = words.next()?.parse().ok()?;
    let mut hash = [0; 32];
    hex::decode_to_slice(words.next()?, &mut hash).ok()?;
    Some(Written { serial, point: Point { counter, audit_sequence, audit_hash: Hash(hash) } })
}

/// A line with its checksum, which tells a torn line from a whole one.
pub(super) fn with_checksum(line: &str) -> String {
    format!("{line} {:08x}\n", crc32c::crc32c(line.as_bytes()))
}

/// The line without its checksum, when that is right.
pub(super) fn without_checksum(line: &str) -> Option<&str> {
    let (line, sum) = line.rsplit_once(' ')?;
    (format!("{:08x}", crc32c::crc32c(line.as_bytes())) == sum).then_some(line)
}
