//! What is shown of records: clusters, versions that are to be destroyed, notices that wait.

use std::sync::atomic::Ordering;

use keystead_keyservice::{ClusterFigures, Figures, WebhookFigures};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Default)]
pub(super) struct FigureMetrics {
    clusters: Family<StateLabels, Gauge>,
    hosts: Family<StateLabels, Gauge>,
    oldest_inventory: Gauge,
    old_values: Gauge,
    clusters_with_old_values: Gauge,
    failed_operations: Family<FailureLabels, Counter>,
    versions_to_destroy: Gauge,
    notices_waiting: Family<WebhookLabels, Gauge>,
    notices_dropped: Family<WebhookLabels, Counter>,
    deliveries: Family<DeliveryLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    task: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    webhook: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    webhook: String,
    result: &'static str,
}

impl FigureMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("clusters", "Clusters, by what their values are or become", self.clusters.clone());
        registry.register(
            "cluster_hosts",
            "Hosts of clusters, by whether their agent was heard within three minutes",
            self.hosts.clone(),
        );
        registry.register(
            "cluster_oldest_inventory_timestamp_seconds",
            "When the oldest inventory of a cluster with a key was taken, in seconds since 1970; 0: no cluster has a key",
            self.oldest_inventory.clone(),
        );
        registry.register(
            "cluster_values_under_old_versions",
            "Values of clusters that are not under the primary version of their cluster's key",
            self.old_values.clone(),
        );
        registry.register(
            "clusters_with_values_under_old_versions",
            "Clusters that have such values",
            self.clusters_with_old_values.clone(),
        );
        registry.register(
            "cluster_operations_failed",
            "Operations of clusters that did not do what they were for, by task and reason",
            self.failed_operations.clone(),
        );
        registry.register(
            "key_versions_to_be_destroyed",
            "Key versions whose destruction is scheduled",
            self.versions_to_destroy.clone(),
        );
        registry.register(
            "webhook_notices_waiting",
            "Notices that a receiver has not taken yet",
            self.notices_waiting.clone(),
        );
        registry.register(
            "webhook_notices_dropped",
            "Notices that were given up since the receiver was set up",
            self.notices_dropped.clone(),
        );
        registry.register(
            "webhook_deliveries",
            "Notices that were sent to a receiver, by what became of it",
            self.deliveries.clone(),
        );
    }

    pub(super) fn set(&self, figures: &Figures) {
        let Figures { clusters, versions_to_destroy, webhooks, failed_operations } = figures;
        let ClusterFigures { encrypted, plain, in_operation, .. } = *clusters;
        for (state, count) in [("encrypted", encrypted), ("plain", plain), ("in_operation", in_operation)] {
            self.clusters.get_or_create(&StateLabels { state }).set(number(count));
        }
        let ClusterFigures { hosts_heard, hosts_silent, hosts_invited, .. } = *clusters;
        for (state, count) in [("heard", hosts_heard), ("silent", hosts_silent), ("invited", hosts_invited)] {
            self.hosts.get_or_create(&StateLabels { state }).set(number(count));
        }
        self.oldest_inventory.set(clusters.oldest_inventory.map_or(0, |it| it.as_second()));
        self.old_values.set(number(clusters.old_values));
        self.clusters_with_old_values.set(number(clusters.clusters_with_old_values));
        for (task, reason, count) in failed_operations {
            let counter = self.failed_operations.get_or_create(&FailureLabels { task, reason });
            counter.inner().store(*count, Ordering::Relaxed);
        }
        self.versions_to_destroy.set(i64::try_from(*versions_to_destroy).unwrap_or(i64::MAX));
        for WebhookFigures { name, waiting, dropped } in webhooks {
            let labels = WebhookLabels { webhook: name.clone() };
            self.notices_waiting.get_or_create(&labels).set(number(*waiting));
            self.notices_dropped.get_or_create(&labels).inner().store(*dropped, Ordering::Relaxed);
        }
    }

    pub(super) fn may_send(&self, webhook: &str) {
        let labels = WebhookLabels { webhook: webhook.to_owned() };
        drop(self.notices_waiting.get_or_create(&labels));
        drop(self.notices_dropped.get_or_create(&labels));
        for result in ["delivered", "refused", "failed"] {
            drop(self.deliveries.get_or_create(&DeliveryLabels { webhook: webhook.to_owned(), result }));
        }
    }

    pub(super) fn notice_sent(&self, webhook: &str, result: &'static str) {
        self.deliveries.get_or_create(&DeliveryLabels { webhook: webhook.to_owned(), result }).inc();
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
