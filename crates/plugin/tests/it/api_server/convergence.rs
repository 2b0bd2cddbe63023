//! When an API server has taken up a new key id.

use std::time::Duration;

use anyhow::Result;
use keystead_crypto::sha256;
use keystead_testkit::control_plane::ApiServer;

use super::deadline::eventually;

/// An API server asks Status again when /readyz is asked and its last answer is 20 s old; without that, once a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `server` writes with `key_id` under this KMS v2 entry, as its own metric says.
pub(crate) async fn converged(server: &ApiServer, provider: &str, key_id: &str) -> Result<()> {
    let wanted = hash(key_id);
    eventually(&format!("the API server shows {key_id}"), PATIENCE, async || {
        server.readyz(false).await?;
        Ok(newest_key_id_hash(&server.metrics().await?, provider).as_deref() == Some(wanted.as_str()))
    })
    .await?;
    // The metric is set before the new seed is in use; this waits for the end of that check.
    server.readyz(false).await?;
    Ok(())
}

/// The label of the key id that Status gave last.
fn newest_key_id_hash(metrics: &str, provider: &str) -> Option<String> {
    const NAME: &str = "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{";
    let of_provider = format!("provider_name=\"{provider}\"");
    let series = metrics.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(NAME)?.split_once("} ")?;
        let (_, hash) = labels.split_once(",key_id_hash=\"")?;
        let (hash, _) = hash.split_once('"')?;
        labels.contains(&of_provider).then(|| Some((value.parse::<f64>().ok()?, hash.to_owned())))?
    });
    series.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, hash)| hash)
}

fn hash(key_id: &str) -> String {
    format!("sha256:{}", hex::encode(sha256(key_id.as_bytes())))
}
