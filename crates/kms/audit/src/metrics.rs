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
    destructions: Family<DestructionLabels, Counter>,
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
            destructions,
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
        registry.register("audit_refusals", "Refusals of unknown callers", self.refusals.clone());
        registry.register("audit_sync_seconds", "One write and sync of the audit log", self.sync.clone());
        registry.register("audit_reserve_bytes", "Space that is reserved for records", self.reserve.clone());
        registry.register("audit_reserve_used_bytes", "How much of it is used", self.reserve_used.clone());
        registry.register(
            "audit_state",
            "0 normal, 1 reserve above 80 %, 2 changes are refused, 3 every call is refused",
            self.state.clone(),
        );
        registry.register(
            "key_destructions",
            "Key versions whose destruction was scheduled or done",
            self.destructions.clone(),
        );
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

    pub(crate) fn destruction(&self, step: Destruction) {
        self.destructions.get_or_create(&DestructionLabels { state: step.name() }).inc();
    }
}
