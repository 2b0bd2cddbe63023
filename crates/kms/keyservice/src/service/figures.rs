//! Numbers about records, for whoever publishes them.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use keystead_model::cluster::Task;

use super::WebhookFigures;

/// What is shown of records.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// All clusters together.
    pub clusters: ClusterFigures,
    /// Key versions whose destruction is scheduled.
    pub versions_to_destroy: usize,
    /// Every receiver of notices.
    pub webhooks: Vec<WebhookFigures>,
    /// Operations of clusters that failed since this process began, by each task and reason there is.
    pub failed_operations: Vec<(&'static str, &'static str, u64)>,
}

/// What all clusters together are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFigures {
    /// Clusters whose last task left their values under a key, and that have none running.
    pub encrypted: u64,
    /// The same whose values are plain.
    pub plain: u64,
    /// Clusters with a running task.
    pub in_operation: u64,
    /// Hosts that were heard within three minutes.
    pub hosts_heard: u64,
    /// Hosts that joined and were not.
    pub hosts_silent: u64,
    /// Hosts that were invited and have not joined.
    pub hosts_invited: u64,
    /// When the oldest inventory was taken that a cluster with a key has; of one that has none, when the cluster was made. None: no
    /// cluster has a key.
    pub oldest_inventory: Option<Timestamp>,
    /// Values that are not under the primary version of their cluster's key.
    pub old_values: u64,
    /// Clusters that have such values.
    pub clusters_with_old_values: u64,
}

/// Why an operation of a cluster failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureReason {
    /// Its key cannot be used.
    Key,
    /// A host could not do it.
    Host,
    /// Somebody ended it.
    Cancelled,
}

/// How many operations failed since the process began. One that another process ends is counted there.
#[derive(Debug, Default)]
pub(crate) struct FailedOperations([[AtomicU64; 3]; 2]);

const TASKS: [&str; 2] = ["create", "update"];
const REASONS: [&str; 3] = ["key", "host", "cancelled"];

impl FailedOperations {
    /// Labels and deletions never fail: they end as they begin.
    pub(crate) fn count(&self, task: &Task, reason: FailureReason) {
        let task = usize::from(!matches!(task, Task::Create(_)));
        let reason = match reason {
            FailureReason::Key => 0,
            FailureReason::Host => 1,
            FailureReason::Cancelled => 2,
        };
        if let Some(counter) = self.0.get(task).and_then(|it| it.get(reason)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// By task and reason, also where there was none: an alert about a series that begins with 1 misses the first.
    pub(crate) fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut counts = Vec::new();
        for (task, reasons) in TASKS.into_iter().zip(&self.0) {
            for (reason, counter) in REASONS.into_iter().zip(reasons) {
                counts.push((task, reason, counter.load(Ordering::Relaxed)));
            }
        }
        counts
    }
}
