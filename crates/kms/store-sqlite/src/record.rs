use keystead_model::ErrorClass;
use keystead_store::{Entry, Revision, StoreError};
use rusqlite::Row;

use crate::fault::Fault;

/// What stands beside a record, so that bits that flip on the disk are an error and never other bytes.
pub(crate) fn checksum(name: &[u8], revision: u64, value: &[u8]) -> i64 {
    let crc =
        crc32c::crc32c_append(crc32c::crc32c(&revision.to_le_bytes()), &(name.len() as u64).to_le_bytes());
    i64::from(crc32c::crc32c_append(crc32c::crc32c_append(crc, name), value))
}

/// A row of the columns name, revision, checksum, value.
pub(crate) fn read(row: &Row<'_>) -> Result<Entry, Fault> {
    let name: Vec<u8> = row.get(0)?;
    let revision = unsigned(row.get(1)?)?;
    let value: Vec<u8> = row.get(3)?;
    if row.get::<_, i64>(2)? != checksum(&name, revision, &value) {
        return Err(damaged());
    }
    let name = String::from_utf8(name).map_err(|_| damaged())?;
    Ok(Entry { name, revision: Revision(revision), value })
}

pub(crate) fn unsigned(number: i64) -> Result<u64, Fault> {
    u64::try_from(number).map_err(|_| damaged())
}

pub(crate) fn damaged() -> Fault {
    Fault::Store(StoreError::new(ErrorClass::Corrupt, "a record is not what was once written"))
}

/// SQLite counts to 2^63; a store that commits a million times a second gets there in 292,000 years.
pub(crate) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// The first name in order of bytes that no longer starts with `prefix`.
pub(crate) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        // UTF-8 has no byte 0xff, so this stays above every name with the prefix and below every other one.
        Some(last) => *last += 1,
        None => end.push(u8::MAX),
    }
    end
}

/// The first name in order of bytes that starts with `prefix` and is greater than `after`.
pub(crate) fn start_of(prefix: &str, after: &str) -> Vec<u8> {
    if after.is_empty() || after < prefix {
        return prefix.as_bytes().to_vec();
    }
    [after.as_bytes(), &[0]].concat()
}
