//! What the agent says of its host: looked at seldom, because each look asks the API server and every plugin.

use std::time::{Duration, Instant};

use keystead_model::cluster_host::HostReport;

use crate::cluster::HostRollout;

/// A change that somebody makes by hand is seen within this time.
const EVERY: Duration = Duration::from_secs(30);
/// While a task waits or runs, and where the API server did not answer.
const SOON: Duration = Duration::from_secs(3);

/// What was seen last.
#[derive(Default)]
pub(super) struct Facts {
    seen: HostReport,
    at: Option<Instant>,
}

impl Facts {
    /// As new as it needs to be; `busy`: while the cluster changes.
    pub(super) fn get(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        host: &HostRollout,
        busy: bool,
    ) -> &HostReport {
        let limit = if busy || self.seen.api_server_version.is_empty() { SOON } else { EVERY };
        if self.at.is_none_or(|at| at.elapsed() >= limit) {
            self.seen = runtime.block_on(host.facts());
            self.at = Some(Instant::now());
        }
        &self.seen
    }

    /// What was seen last; none: nothing was looked at yet.
    pub(super) fn last(&self) -> Option<&HostReport> {
        self.at.map(|_| &self.seen)
    }
}
