//! What `/metrics` shows of the process itself, and in `figures.rs` of records; the audit log adds its own.

mod figures;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keystead_keyservice::{Figures, Protection};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::methods::Served;
use figures::FigureMetrics;

/// From 100 us, an Encrypt without the disk, to 5 s, where clients give up.
const REQUEST_BUCKETS: [f64; 10] = [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 10e-3, 50e-3, 0.25, 1.0, 5.0];

/// All metrics of the process.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    connections: Gauge,
    accepted: Counter,
    refused: Family<ReasonLabels, Counter>,
    closed: Family<ReasonLabels, Counter>,
    handshakes: Family<ReasonLabels, Counter>,
    expiries: Family<CertificateLabels, Gauge>,
    panics: Counter,
    dropped_log_lines: Counter,
    unprotected: Gauge,
    destinations_incomplete: Gauge,
    erasure_pending: Gauge,
    database_writable: Gauge,
    database_displaced: Gauge,
    ready: Gauge,
    root_key_usable: Gauge,
    files_refused: Family<FileLabels, Gauge>,
    figures: FigureMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabels {
    file: &'static str,
}

/// An open connection, for the gauge.
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut root = Registry::default();
        // Only for what is registered here: other parts have names of their own.
        let registry = root.sub_registry_with_prefix("keystead_server");
        registry.register(
            "build",
            "Version of this program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let requests = Family::new_with_constructor(request_histogram as fn() -> _);
        registry.register("request_seconds", "Time that requests took, by method and code", requests.clone());
        let metrics = Self {
            registry: Mutex::default(),
            requests,
            connections: Gauge::default(),
            accepted: Counter::default(),
            refused: Family::default(),
            closed: Family::default(),
            handshakes: Family::default(),
            expiries: Family::default(),
            panics: Counter::default(),
            dropped_log_lines: Counter::default(),
            unprotected: Gauge::default(),
            destinations_incomplete: Gauge::default(),
            erasure_pending: Gauge::default(),
            database_writable: Gauge::default(),
            database_displaced: Gauge::default(),
            ready: Gauge::default(),
            root_key_usable: Gauge::default(),
            files_refused: Family::default(),
            figures: FigureMetrics::default(),
        };
        registry.register("ready", "1 while calls can be answered", metrics.ready.clone());
        registry.register(
            "root_key_usable",
            "1 while the root key wraps and unwraps, which the next start needs",
            metrics.root_key_usable.clone(),
        );
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register(
            "connections_accepted",
            "Connections after their handshake",
            metrics.accepted.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections over a limit, by limit",
            metrics.refused.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections closed by us, by reason",
            metrics.closed.clone(),
        );
        registry.register(
            "handshake_failures",
            "TLS handshakes that failed, by reason",
            metrics.handshakes.clone(),
        );
        registry.register(
            "certificate_expiry_seconds",
            "When a certificate ends, in seconds since 1970",
            metrics.expiries.clone(),
        );
        registry.register(
            "backup_unprotected",
            "1 when no backup destination is certain to hold every key version: losing the disk may lose keys",
            metrics.unprotected.clone(),
        );
        registry.register(
            "backup_destinations_incomplete",
            "Backup destinations that are missing or refused, or that may lack a key version",
            metrics.destinations_incomplete.clone(),
        );
        registry.register(
            "erasure_pending",
            "1 while bytes of destroyed key material may still be in a file of the database",
            metrics.erasure_pending.clone(),
        );
        registry.register(
            "database_writable",
            "1 while changes are written to the database",
            metrics.database_writable.clone(),
        );
        registry.register(
            "database_displaced",
            "1 while a file of the database is not the one that is open: it was removed or replaced",
            metrics.database_displaced.clone(),
        );
        registry.register(
            "file_refused",
            "1 while the last good content of a file is in use, because what is there now cannot be used",
            metrics.files_refused.clone(),
        );
        registry.register("panics", "Requests that ended in a bug", metrics.panics.clone());
        registry.register(
            "log_lines_dropped",
            "Lines of the log that nobody read in time",
            metrics.dropped_log_lines.clone(),
        );
        metrics.figures.register(root.sub_registry_with_prefix("keystead"));
        Self { registry: Mutex::new(root), ..metrics }
    }
}

fn request_histogram() -> Histogram {
    Histogram::new(REQUEST_BUCKETS)
}

impl Metrics {
    /// Lets another part add what it counts.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How far key versions are on other machines too.
    pub(crate) fn protection(&self, protection: &Protection) {
        self.unprotected.set(i64::from(protection.is_none()));
        let incomplete = protection.incomplete.len();
        self.destinations_incomplete.set(i64::try_from(incomplete).unwrap_or(i64::MAX));
    }

    /// Whether bytes of destroyed material may still be in a file.
    pub(crate) fn erasure_pending(&self, pending: bool) {
        self.erasure_pending.set(i64::from(pending));
    }

    /// Whether changes are written to the database.
    pub(crate) fn database_writable(&self, writable: bool) {
        self.database_writable.set(i64::from(writable));
    }

    /// Whether a file of the database was removed or replaced.
    pub(crate) fn database_displaced(&self, displaced: bool) {
        self.database_displaced.set(i64::from(displaced));
    }

    /// What is shown of records.
    pub(crate) fn figures(&self, figures: &Figures) {
        self.figures.set(figures);
    }

    /// Notices may be sent to this receiver. An alert about a series that begins with 1 misses the first.
    pub(crate) fn may_send_notices(&self, webhook: &str) {
        self.figures.may_send(webhook);
    }

    /// A notice was sent to a receiver: whether it was `delivered`, `refused`, or the receiver `failed`.
    pub(crate) fn notice_sent(&self, webhook: &str, result: &'static str) {
        self.figures.notice_sent(webhook, result);
    }

    /// In OpenMetrics form.
    pub fn text(&self) -> String {
        self.dropped_log_lines.inner().store(keystead_runtime::dropped_log_lines(), Ordering::Relaxed);
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if encode(&mut text, &registry).is_err() {
            tracing::error!("metrics cannot be written");
        }
        text
    }

    /// A request was answered.
    pub(crate) fn answered(&self, served: Served, took: Duration) {
        let Served { method, code } = served;
        self.requests.get_or_create(&RequestLabels { method, code }).observe(took.as_secs_f64());
    }

    /// A connection is open, until what this gives is dropped.
    pub(crate) fn connection(&self) -> OpenConnection {
        self.accepted.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Connections may be refused for this reason, and none was yet. An alert about a series that begins with 1 misses the first.
    pub(crate) fn may_refuse_connections(&self, reason: &'static str) {
        drop(self.refused.get_or_create(&ReasonLabels { reason }));
    }

    /// A connection had no place.
    pub(crate) fn refused_connection(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A connection was closed by us.
    pub(crate) fn closed_connection(&self, reason: &'static str) {
        self.closed.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A handshake came to nothing.
    pub(crate) fn failed_handshake(&self, reason: &'static str) {
        self.handshakes.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Whether calls can be answered.
    pub(crate) fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// Whether the next start would be one.
    pub(crate) fn root_key_usable(&self, usable: bool) {
        self.root_key_usable.set(i64::from(usable));
    }

    /// Whether what is on the disk now is not what is in use.
    pub(crate) fn file_refused(&self, file: &'static str, refused: bool) {
        self.files_refused.get_or_create(&FileLabels { file }).set(i64::from(refused));
    }

    /// When a certificate ends.
    pub(crate) fn certificate(&self, certificate: &'static str, until: jiff::Timestamp) {
        self.expiries.get_or_create(&CertificateLabels { certificate }).set(until.as_second());
    }

    /// A request ended in a bug.
    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }
}
