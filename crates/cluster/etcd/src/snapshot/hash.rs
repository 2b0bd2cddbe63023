//! The hash behind a snapshot.

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use serde::Serialize;

use super::SnapshotError;
use crate::bbolt::{DatabaseError, Source};

/// What the hash at the end of a snapshot says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashCheck {
    /// The file is what was saved.
    Matches,
    /// The file is not what was saved.
    Differs,
    /// There is none: the file is a member's database, or was copied without it.
    Absent,
}

/// Reads the whole file.
pub(super) fn check(source: &dyn Source, size: u64) -> Result<HashCheck, SnapshotError> {
    // As `etcdutl snapshot restore` tells these files apart.
    if size % SECTOR != HASH {
        return Ok(HashCheck::Absent);
    }
    let content = size - HASH;
    let mut context = Context::new(&SHA256);
    let mut buffer = zeroize::Zeroizing::new(vec![0; CHUNK]);
    let mut offset = 0;
    while offset < content {
        let length = usize::try_from(content - offset).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..length).unwrap_or_default();
        source.read_at(part, offset).map_err(DatabaseError::Read)?;
        context.update(part);
        offset += length as u64;
    }
    let mut expected = [0; SHA256_OUTPUT_LEN];
    source.read_at(&mut expected, content).map_err(DatabaseError::Read)?;
    if context.finish().as_ref() == expected { Ok(HashCheck::Matches) } else { Ok(HashCheck::Differs) }
}

/// Every page size is a multiple of it.
const SECTOR: u64 = 512;
const HASH: u64 = SHA256_OUTPUT_LEN as u64;
const CHUNK: usize = 256 << 10;
