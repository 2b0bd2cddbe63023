//! What callers, the writer and the exports of an open log have in common.

use std::path::PathBuf;

use tokio::sync::watch;

use crate::Head;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::refusals::Refusals;
use crate::state::Admission;

pub(crate) struct Shared {
    pub dir: PathBuf,
    pub queue: Queue,
    pub admission: Admission,
    pub refusals: Refusals,
    pub metrics: Metrics,
    pub durable: watch::Sender<Durable>,
}

/// What is on the disk for certain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durable {
    pub head: Head,
    /// First sequence and length of the segment that was written last.
    pub segment: Option<(u64, u64)>,
}
