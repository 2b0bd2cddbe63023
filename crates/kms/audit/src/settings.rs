use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::{ExportSettings, HeadSigner};

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How a log is kept.
#[derive(Clone)]
pub struct AuditSettings {
    /// A segment is sealed once it is larger, in bytes.
    pub segment_bytes: u64,
    /// A segment is sealed once its first record is older.
    pub segment_age: Duration,
    /// Sealed segments are deleted once their newest record is older; none: never.
    pub retention: Option<Duration>,
    /// Space that is kept for records, in bytes, for when the file system is full.
    pub reserve_bytes: u64,
    /// Where records go besides. Each name must be another.
    pub exports: Vec<ExportSettings>,
    /// Where signed heads go; none: nobody signs any.
    pub signed_heads: Option<SignedHeads>,
    /// The clock of records that the log writes about itself, and of ages.
    pub clock: Clock,
}

impl Default for AuditSettings {
    /// Segments of 64 MiB, which a start reads in a tenth of a second, or a day; kept for 400 days, as Cloud Audit Logs
    /// keeps its required ones; 32 MiB in reserve, which is about 30,000 calls.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(24 * 60 * 60),
            retention: Some(Duration::from_secs(400 * 24 * 60 * 60)),
            reserve_bytes: 32 << 20,
            exports: Vec::new(),
            signed_heads: None,
            clock: Arc::new(Timestamp::now),
        }
    }
}

/// The newest head, signed, in a file that somebody copies to where the log cannot be written. It is written every minute in
/// which there are new records, and at the end; beside it is the public key, in a file with `.pem` after its name.
#[derive(Clone)]
pub struct SignedHeads {
    /// Signs.
    pub signer: Arc<HeadSigner>,
    /// The file.
    pub file: PathBuf,
}

impl fmt::Debug for AuditSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditSettings")
            .field("segment_bytes", &self.segment_bytes)
            .field("segment_age", &self.segment_age)
            .field("retention", &self.retention)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("exports", &self.exports)
            .finish_non_exhaustive()
    }
}
