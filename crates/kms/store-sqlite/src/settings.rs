use std::time::Duration;

/// How a database is used. The default is for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteSettings {
    /// Threads that read, each with its own connection: reads do not wait for writes, nor short ones for long ones.
    pub readers: usize,
    /// Commits for which [`Store::changes`](keystead_store::Store::changes) knows the names.
    pub changes_kept: u64,
    /// Up to this size, in bytes, the database is checked in full before it is used, and above while it is used.
    pub checked_first: u64,
    /// How long an erasure waits for others, so that what is destroyed together is erased together.
    pub erase_delay: Duration,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self {
            // Two for lists and two for the rest; reads are a small part of a server's work.
            readers: 4,
            // About ten minutes at 200 commits a second: longer than a replica is away without starting over.
            changes_kept: 100_000,
            // A tenth of a second at 500 MB/s.
            checked_first: 48 << 20,
            // The schedule destroys thousands of versions in a second.
            erase_delay: Duration::from_secs(1),
        }
    }
}
