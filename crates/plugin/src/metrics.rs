//! What `/metrics` shows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use keystead_crypto::{Secret32, sha256};
use keystead_model::{ErrorClass, KeyVersion};
use keystead_provider::{Description, Pending, Provider, Wrapped};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::providers::Kept;
use crate::snapshot::State;
use crate::transport::SocketWatch;
use crate::unwrap_cache::Lookup;

/// From 25 us, where a call from memory ends, to 3 s, where kube-apiserver gives up.
const CALL_BUCKETS: [f64; 10] = [25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 3.0];
/// From 1 ms to the guard's 2.5 s.
const BACKEND_BUCKETS: [f64; 9] = [1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.5, 2.5];

/// The six calls of both API versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// v1 Version.
    V1Version,
    /// v1 Encrypt.
    V1Encrypt,
    /// v1 Decrypt.
    V1Decrypt,
    /// v2 Status.
    V2Status,
    /// v2 Encrypt.
    V2Encrypt,
    /// v2 Decrypt.
    V2Decrypt,
}

const CALLS: [(Call, &str, &str); 6] = [
    (Call::V1Version, "v1", "Version"),
    (Call::V1Encrypt, "v1", "Encrypt"),
    (Call::V1Decrypt, "v1", "Decrypt"),
    (Call::V2Status, "v2", "Status"),
    (Call::V2Encrypt, "v2", "Encrypt"),
    (Call::V2Decrypt, "v2", "Decrypt"),
];

/// All metrics of the process.
pub(crate) struct Metrics {
    registry: Registry,
    calls: [Histogram; CALLS.len()],
    failures: Family<FailureLabels, Counter>,
    lookups: [Counter; 3],
    cache_entries: Gauge,
    backend: Family<BackendLabels, Histogram, fn() -> Histogram>,
    serving: Gauge,
    outage_seconds: Gauge,
    snapshot_age: Gauge,
    key_id: Family<KeyIdLabels, Gauge>,
    credentials_end: Family<CredentialLabels, Gauge>,
    dropped_log_lines: Counter,
    socket_lost: Gauge,
    socket_rebinds: Counter,
    key_refused: Gauge,
    credentials_refused: Gauge,
    keys_lost: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    kms: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    kms: &'static str,
    method: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabels {
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyIdLabels {
    key_id_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabels {
    credential: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabels {
    result: &'static str,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("keystead_plugin");
        registry.register(
            "build",
            "Version of this program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );

        let call_seconds =
            Family::<CallLabels, Histogram, _>::new_with_constructor(call_histogram as fn() -> _);
        registry.register("call_seconds", "Time that calls of kube-apiserver took", call_seconds.clone());
        let calls =
            CALLS.map(|(_, kms, method)| call_seconds.get_or_create(&CallLabels { kms, method }).clone());
        let failures = Family::default();
        registry.register("call_failures", "Calls answered with an error, by class", failures.clone());

        let lookup_family = Family::<LookupLabels, Counter>::default();
        registry.register(
            "unwrap_cache_lookups",
            "How Decrypts found their wrapping key",
            lookup_family.clone(),
        );
        let lookups = ["hit", "joined", "miss"]
            .map(|result| lookup_family.get_or_create(&LookupLabels { result }).clone());
        let cache_entries = Gauge::default();
        registry.register("unwrap_cache_entries", "Wrapping keys held in memory", cache_entries.clone());

        let backend = Family::new_with_constructor(backend_histogram as fn() -> Histogram);
        registry.register("backend_seconds", "Time that calls to the key backend took", backend.clone());
        let serving = Gauge::default();
        registry.register("serving", "1 while Encrypt works", serving.clone());
        let outage_seconds = Gauge::default();
        registry.register(
            "outage_seconds",
            "How long the key backend has not answered",
            outage_seconds.clone(),
        );
        let snapshot_age = Gauge::default();
        registry.register("snapshot_age_seconds", "Age of the wrapping key in use", snapshot_age.clone());
        let key_id = Family::default();
        registry.register("key_id", "The key in use, hashed as kube-apiserver's metrics do", key_id.clone());
        let credentials_end = Family::default();
        registry.register(
            "credentials_end_seconds",
            "Time until the first of the certificates and tokens for the key backend ends; negative after it",
            credentials_end.clone(),
        );
        let dropped_log_lines = Counter::default();
        registry.register(
            "log_lines_dropped",
            "Lines of the log that nobody read in time",
            dropped_log_lines.clone(),
        );
        let socket_lost = Gauge::default();
        registry.register(
            "socket_lost",
            "1 while no client can connect by the socket's path",
            socket_lost.clone(),
        );
        let socket_rebinds = Counter::default();
        registry.register(
            "socket_rebinds",
            "How often the socket's file was gone and was made anew",
            socket_rebinds.clone(),
        );
        let key_refused = Gauge::default();
        registry.register(
            "key_refused",
            "1 while the key that a start would find is not the one in use",
            key_refused.clone(),
        );
        let credentials_refused = Gauge::default();
        registry.register(
            "credentials_refused",
            "1 while the credentials that a start would find are not those in use",
            credentials_refused.clone(),
        );
        let keys_lost = Gauge::default();
        registry.register(
            "keys_lost",
            "Key ids that this process has encrypted with and whose wrapped keys the backend cannot unwrap any more",
            keys_lost.clone(),
        );

        Self {
            registry,
            calls,
            failures,
            lookups,
            cache_entries,
            backend,
            serving,
            outage_seconds,
            snapshot_age,
            key_id,
            credentials_end,
            dropped_log_lines,
            socket_lost,
            socket_rebinds,
            key_refused,
            credentials_refused,
            keys_lost,
        }
    }

    /// A call ended.
    pub(crate) fn called(&self, call: Call, took: Duration, failure: Option<ErrorClass>) {
        if let Some(histogram) = self.calls.get(call as usize) {
            histogram.observe(took.as_secs_f64());
        }
        if let (Some(class), Some((_, kms, method))) = (failure, CALLS.get(call as usize)) {
            self.failures.get_or_create(&FailureLabels { kms, method, class: class.name() }).inc();
        }
    }

    pub(crate) fn looked_up(&self, lookup: Lookup) {
        if let Some(counter) = self.lookups.get(lookup as usize) {
            counter.inc();
        }
    }

    /// What is known of the socket now.
    pub(crate) fn socket(&self, watch: &SocketWatch) {
        self.socket_lost.set(i64::from(watch.lost().is_some()));
        self.socket_rebinds.inner().store(watch.rebinds(), Ordering::Relaxed);
    }

    /// What a start would not find as the plugin goes on with it.
    pub(crate) fn refused(&self, kept: Option<Kept>) {
        self.key_refused.set(i64::from(kept == Some(Kept::Key)));
        self.credentials_refused.set(i64::from(kept == Some(Kept::Credentials)));
    }

    /// How many key ids the backend has lost.
    pub(crate) fn keys_lost(&self, count: usize) {
        self.keys_lost.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The text of `/metrics`, with gauges as of now.
    pub(crate) fn text(
        &self,
        state: &State,
        cache_entries: usize,
        expiry: Option<(String, SystemTime)>,
    ) -> String {
        self.dropped_log_lines.inner().store(keystead_runtime::dropped_log_lines(), Ordering::Relaxed);
        self.credentials_end.clear();
        if let Some((credential, at)) = expiry {
            let left = seconds_until(at, SystemTime::now());
            self.credentials_end.get_or_create(&CredentialLabels { credential }).set(left);
        }
        self.cache_entries.set(i64::try_from(cache_entries).unwrap_or(i64::MAX));
        self.key_id.clear();
        let (mut serving, mut outage_seconds, mut age) = (0, 0, 0);
        if let State::Serving { snapshot, outage } = state {
            serving = i64::from(outage.as_ref().is_none_or(|outage| Instant::now() < outage.until));
            outage_seconds = outage.as_ref().map_or(0, |outage| seconds_since(outage.since));
            age = seconds_since(snapshot.made);
            let key_id_hash = format!("sha256:{}", hex::encode(sha256(snapshot.key_id().as_bytes())));
            self.key_id.get_or_create(&KeyIdLabels { key_id_hash }).set(1);
        }
        self.serving.set(serving);
        self.outage_seconds.set(outage_seconds);
        self.snapshot_age.set(age);

        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn seconds_until(at: SystemTime, now: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    at.duration_since(now).map_or_else(|late| -seconds(late.duration()), seconds)
}

fn seconds_since(start: Instant) -> i64 {
    i64::try_from(start.elapsed().as_secs()).unwrap_or(i64::MAX)
}

fn call_histogram() -> Histogram {
    Histogram::new(CALL_BUCKETS)
}

fn backend_histogram() -> Histogram {
    Histogram::new(BACKEND_BUCKETS)
}

/// Measures every call to a backend.
pub(crate) struct Measured<P> {
    inner: P,
    metrics: Arc<Metrics>,
}

impl<P: Provider> Measured<P> {
    /// Puts the stop watch before a provider.
    pub(crate) fn new(inner: P, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    async fn measure<T>(
        &self,
        operation: &'static str,
        call: Pending<'_, T>,
    ) -> Result<T, keystead_provider::ProviderError> {
        let start = Instant::now();
        let answer = call.await;
        let result = answer.as_ref().map_or_else(|error| error.class().name(), |_| "ok");
        let labels = BackendLabels { operation, result };
        self.metrics.backend.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
        answer
    }
}

impl<P: Provider> Provider for Measured<P> {
    fn describe(&self) -> &Description {
        self.inner.describe()
    }

    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped> {
        Box::pin(self.measure("wrap", self.inner.wrap(key)))
    }

    fn unwrap<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        Box::pin(self.measure("unwrap", self.inner.unwrap(version, wrapped)))
    }
}
