use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::{Destruction, LogState};

/// From 50 us, a disk with a cache that survives, to the 2 s after which a disk is said to hang.
const SYNC_BUCKETS: [f64; 10] = [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 2.0];

/// What a log counts. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub records: Counter,
    pub bytes: Counter,
    pub failed: Counter,
    pub refusals: Counter,
    sync: Histogram,
    reserve: Gauge,
    reserve_used: Gauge,
    state: Gauge,
    damaged: Gauge,
    destructions: Family<DestructionLabels, Counter>,
    head: Gauge,
    exported: Family<ExportLabels, Gauge>,
    export_lag: Family<ExportLabels, Gauge>,
    export_failures: Family<ExportLabels, Counter>,
    export_lost: Family<ExportLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExportLabels {
    export: String,
}

/// What one export counts.
pub(crate) struct ExportMetrics {
    labels: ExportLabels,
    all: Metrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DestructionLabels {
    state: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let destructions = Family::default();
        // There from the start: an alert on an increase sees none when a series begins with 1.
        for step in [Destruction::Scheduled, Destruction::Destroyed] {
            drop(destructions.get_or_create(&DestructionLabels { state: step.name() }));
        }
        Self {
            records: Counter::default(),
            bytes: Counter::default(),
            failed: Counter::default(),
            refusals: Counter::default(),
            sync: Histogram::new(SYNC_BUCKETS),
            reserve: Gauge::default(),
            reserve_used: Gauge::default(),
            state: Gauge::default(),
            damaged: Gauge::default(),
            destructions,
            head: Gauge::default(),
            exported: Family::default(),
            export_lag: Family::default(),
            export_failures: Family::default(),
            export_lost: Family::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("keystead");
        registry.register("audit_records", "Records that are durable in the audit log", self.records.clone());
        registry.register("audit_bytes", "Bytes written to the audit log", self.bytes.clone());
        registry.register(
            "audit_failed",
            "Records that could not be written; their calls failed",
            self.failed.clone(),
        );
        registry.register(
            "audit_refusals",
            "Calls that are only counted: of unknown callers, malformed ones, and many of one caller without a permission",
            self.refusals.clone(),
        );
        registry.register("audit_sync_seconds", "One write and sync of the audit log", self.sync.clone());
        registry.register("audit_reserve_bytes", "Space that is reserved for records", self.reserve.clone());
        registry.register("audit_reserve_used_bytes", "How much of it is used", self.reserve_used.clone());
        registry.register(
            "audit_state",
            "0 normal, 1 reserve above 80 %, 2 changes are refused, 3 every call is refused",
            self.state.clone(),
        );
        registry.register(
            "audit_damaged",
            "Damaged places of the audit log: found when it was opened, at most 16, and segments lost while they were written",
            self.damaged.clone(),
        );
        registry.register(
            "key_destructions",
            "Key versions whose destruction was scheduled or done",
            self.destructions.clone(),
        );
        self.register_exports(registry);
    }

    fn register_exports(&self, registry: &mut Registry) {
        registry.register("audit_head_sequence", "The newest durable record", self.head.clone());
        registry.register(
            "audit_export_sequence",
            "The newest record that was exported",
            self.exported.clone(),
        );
        registry.register("audit_export_lag", "Records that are not exported yet", self.export_lag.clone());
        registry.register(
            "audit_export_failures",
            "Batches that could not be sent",
            self.export_failures.clone(),
        );
        registry.register(
            "audit_export_lost",
            "Records that were damaged, or whose time was over, before they were exported",
            self.export_lost.clone(),
        );
    }

    /// What an export of this name counts.
    pub(crate) fn export(&self, name: &str) -> ExportMetrics {
        let labels = ExportLabels { export: name.to_owned() };
        drop(self.export_failures.get_or_create(&labels));
        drop(self.export_lost.get_or_create(&labels));
        ExportMetrics { labels, all: self.clone() }
    }

    /// The newest durable record. Lags grow with it, also those of exports that hang.
    pub(crate) fn head(&self, sequence: u64, exports: &[String]) {
        let head = i64::try_from(sequence).unwrap_or(i64::MAX);
        self.head.set(head);
        for name in exports {
            let labels = ExportLabels { export: name.clone() };
            let exported = self.exported.get_or_create(&labels).get();
            self.export_lag.get_or_create(&labels).set(head - exported);
        }
    }

    pub(crate) fn synced(&self, took: Duration, records: u64, bytes: u64) {
        self.sync.observe(took.as_secs_f64());
        self.records.inc_by(records);
        self.bytes.inc_by(bytes);
    }

    pub(crate) fn space(&self, state: LogState, used: u64, reserve: u64) {
        self.state.set(state as i64);
        self.reserve.set(i64::try_from(reserve).unwrap_or(i64::MAX));
        self.reserve_used.set(i64::try_from(used).unwrap_or(i64::MAX));
    }

    pub(crate) fn damaged(&self, places: usize) {
        self.damaged.set(i64::try_from(places).unwrap_or(i64::MAX));
    }

    pub(crate) fn one_more_damaged(&self) {
        self.damaged.inc();
    }

    pub(crate) fn destruction(&self, step: Destruction) {
        self.destructions.get_or_create(&DestructionLabels { state: step.name() }).inc();
    }
}

impl ExportMetrics {
    pub(crate) fn exported(&self, sequence: u64) {
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        self.all.exported.get_or_create(&self.labels).set(sequence);
        self.all.export_lag.get_or_create(&self.labels).set(self.all.head.get() - sequence);
    }

    pub(crate) fn failed(&self) {
        self.all.export_failures.get_or_create(&self.labels).inc();
    }

    pub(crate) fn lost(&self, records: u64) {
        self.all.export_lost.get_or_create(&self.labels).inc_by(records);
    }
}
