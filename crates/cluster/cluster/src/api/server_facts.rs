//! What one API server says about itself at its own address.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::metrics::{Sample, samples};
use super::request::Call;
use super::{ApiServer, CallError};

/// `/readyz` asks each plugin, which has 3 s by default.
const ASK: Duration = Duration::from_secs(10);
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// What is known of an API server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerFacts {
    /// Why `/readyz` is not ok, or why its metrics are not known; none if both are there. One that ends between the two calls says
    /// nothing that holds.
    pub not_ready: Option<String>,
    /// As it says itself, such as `v1.37.2`.
    pub version: Option<String>,
    /// The y of Kubernetes 1.y.
    pub minor: Option<u32>,
    /// How often it loaded another file since it started; none if it is not ready.
    pub reloads: Option<u64>,
    /// When it last failed to load another file, if it loaded none since; in seconds since 1970.
    pub failed_reload: Option<f64>,
    /// SHA-256 of the EncryptionConfiguration in use, in hexadecimal; from 1.34 on, and none where there is none.
    pub configuration: Option<String>,
    /// SHA-256 of the key id that each KMS v2 plugin last reported to it, in hexadecimal, by the name of the entry.
    pub key_ids: BTreeMap<String, String>,
}

impl ApiServer {
    /// Asks for readiness, version and metrics. What is not answered is not known.
    pub async fn facts(&self) -> ServerFacts {
        let not_ready = self.not_ready().await;
        let (version, minor) = self.version().await.unwrap_or_default();
        let (metrics, unknown) = match self.call(&Call::get("/metrics", TEXT, ASK)).await {
            Ok(metrics) => {
                (String::from_utf8_lossy(&metrics).into_owned(), "what it answers is none".to_owned())
            }
            Err(error) => (String::new(), keystead_model::ErrorChain(&error).to_string()),
        };
        let reloads = reloads(&metrics);
        ServerFacts {
            not_ready: match reloads {
                Some(_) => not_ready,
                None => not_ready.or(Some(format!("its /metrics cannot be read: {unknown}"))),
            },
            version,
            minor,
            reloads,
            failed_reload: failed_reload(&metrics),
            configuration: samples(&metrics, LOADED)
                .iter()
                .find(|it| it.value > 0.0)
                .and_then(|it| digest(it.labels.get("hash")?)),
            key_ids: key_ids(&metrics),
        }
    }

    async fn not_ready(&self) -> Option<String> {
        let error = self.call(&Call::get("/readyz?verbose", TEXT, ASK)).await.err()?;
        let CallError::Refused(refusal) = &error else {
            return Some(keystead_model::ErrorChain(&error).to_string());
        };
        let failed: Vec<&str> = refusal.message.lines().filter(|it| it.starts_with("[-]")).collect();
        let status = || format!("/readyz answers HTTP {}", refusal.status);
        Some(if failed.is_empty() { status() } else { failed.join("; ") })
    }

    /// `gitVersion` and the minor version.
    pub(crate) async fn version(&self) -> Option<(Option<String>, Option<u32>)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: Option<String>,
            minor: String,
        }
        let version: Version = self.json(&Call::get("/version", JSON, ASK)).await.ok()?;
        // Some vendors write `30+`.
        let minor = version.minor.trim_end_matches(|it: char| !it.is_ascii_digit()).parse().ok();
        Some((version.git_version, minor))
    }
}

const LOADED: &str = "apiserver_encryption_config_controller_last_config_info";
const STARTED: &str = "process_start_time_seconds";
/// From 1.30 on, by status; before, one metric for each status.
const RELOADS: &str = "apiserver_encryption_config_controller_automatic_reloads_total";
const RELOADS_BEFORE: &str = "apiserver_encryption_config_controller_automatic_reload_success_total";
const RELOADED_AT: &str = "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds";
const KEY_IDS: &str = "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds";

fn reloads(metrics: &str) -> Option<u64> {
    // Metrics without it are not those of a process.
    samples(metrics, STARTED).first()?;
    let succeeded = |it: &&Sample| it.labels.get("status").is_some_and(|status| status == "success");
    let reloads = samples(metrics, RELOADS);
    let now: f64 = reloads.iter().filter(succeeded).map(|it| it.value).sum();
    let before: f64 = samples(metrics, RELOADS_BEFORE).iter().map(|it| it.value).sum();
    // Versions that have both count each reload in both.
    Some(now.max(before) as u64)
}

fn failed_reload(metrics: &str) -> Option<f64> {
    let newest = |wanted: &str| {
        let is_wanted = |it: &&Sample| it.labels.get("status").is_some_and(|status| status == wanted);
        let samples = samples(metrics, RELOADED_AT);
        samples.iter().filter(is_wanted).map(|it| it.value).reduce(f64::max)
    };
    newest("failure").filter(|failed| newest("success").is_none_or(|loaded| loaded < *failed))
}

/// The newest of each entry: older ones stay in the metrics.
fn key_ids(metrics: &str) -> BTreeMap<String, String> {
    let mut newest: BTreeMap<String, (f64, String)> = BTreeMap::new();
    for sample in samples(metrics, KEY_IDS) {
        let labels = &sample.labels;
        let hash = labels.get("key_id_hash").and_then(|it| digest(it));
        let Some((provider, hash)) = labels.get("provider_name").cloned().zip(hash) else { continue };
        let known = newest.entry(provider).or_default();
        if sample.value > known.0 {
            *known = (sample.value, hash);
        }
    }
    newest.into_iter().map(|(provider, (_, hash))| (provider, hash)).collect()
}

/// `sha256:` and hexadecimal digits.
fn digest(label: &str) -> Option<String> {
    label.strip_prefix("sha256:").map(str::to_owned)
}
