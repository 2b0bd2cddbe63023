//! Deletes sealed segments whose time is over. The chain itself says first what will be gone, so that what remains can be
//! verified, and so that nobody can take this for an excuse.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::{self, SegmentFile};
use crate::{AuditError, Hash, entry, segment};

/// `@type` of the record that comes before a deletion.
pub(crate) const RETENTION: &str = "keystead.audit.Retention";

/// Segments that will be deleted.
pub(crate) struct Expired {
    pub segments: Vec<SegmentFile>,
    /// The newest record that goes with them.
    pub through: u64,
    pub hash: Hash,
}

/// The oldest segments, as far as their footers were written before `before`. Never one that is not sealed, and never the
/// newest sealed one: the log's head is in it until the next record. A damaged one goes with the next whose end can be read.
pub(crate) fn expired(dir: &Path, before: Timestamp) -> Result<Option<Expired>, AuditError> {
    let mut segments = files::segments(dir)?;
    segments.pop();
    let mut found: Option<Expired> = None;
    let mut waiting = Vec::new();
    for file in segments {
        let ends = segment::ends(&file);
        waiting.push(file);
        let Ok(ends) = ends else {
            continue;
        };
        if ends.time.is_none_or(|time| time >= before) {
            break;
        }
        let mut segments = found.map(|it| it.segments).unwrap_or_default();
        segments.append(&mut waiting);
        found = Some(Expired { segments, through: ends.last, hash: ends.hash });
    }
    Ok(found)
}

impl Expired {
    /// The record that says so.
    pub(crate) fn content(&self, now: Timestamp) -> Vec<u8> {
        let payload = Deleted {
            kind: RETENTION.to_owned(),
            deleted_through: self.through,
            hash: self.hash.to_string(),
            segments: self.segments.len(),
        };
        entry::of_log_itself(&payload, now, "NOTICE", None)
    }

    /// Deletes them, oldest first, so that what is left is always one piece.
    pub(crate) fn delete(self, dir: &Path) -> Result<(), AuditError> {
        for SegmentFile { path, .. } in &self.segments {
            fs::remove_file(path).map_err(AuditError::io("delete", path))?;
        }
        files::sync_directory(dir).map_err(AuditError::io("sync", dir))
    }
}

/// What the chain says about records that are gone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deleted {
    #[serde(rename = "@type")]
    kind: String,
    pub deleted_through: u64,
    pub hash: String,
    segments: usize,
}

/// Reads the record that comes before a deletion.
pub(crate) fn deleted(content: &[u8]) -> Option<Deleted> {
    #[derive(Deserialize)]
    struct Record {
        #[serde(rename = "jsonPayload")]
        json_payload: Deleted,
    }
    if !entry::is_own(content, RETENTION) {
        return None;
    }
    let object = [b"{", content, b"}"].concat();
    Some(serde_json::from_slice::<Record>(&object).ok()?.json_payload)
}
