use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How a log is kept.
#[derive(Clone)]
pub struct AuditSettings {
    /// A segment is sealed once it is larger, in bytes.
    pub segment_bytes: u64,
    /// A segment is sealed once its first record is older.
    pub segment_age: Duration,
    /// The clock of records that the log writes about itself, and of ages.
    pub clock: Clock,
}

impl Default for AuditSettings {
    /// Segments of 64 MiB, which a start reads in a tenth of a second, or a day.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(24 * 60 * 60),
            clock: Arc::new(Timestamp::now),
        }
    }
}

impl fmt::Debug for AuditSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditSettings")
            .field("segment_bytes", &self.segment_bytes)
            .field("segment_age", &self.segment_age)
            .finish_non_exhaustive()
    }
}
