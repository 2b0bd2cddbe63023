//! The start of an API server with 2,000 Secrets under KMS v1, which asks its plugin once for each of them, with a key service that takes
//! 40 ms a call: `cargo xtask bench kms-v1-start`.
//!
//! Prints Markdown. Figures are only comparable within one run; the machine should do nothing else.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that prints figures, run by hand"
)]

mod cluster;
mod ours;
#[path = "../../tests/it/key_service/service.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod service;
mod slow_line;
mod without_cache;

use std::time::Duration;

use anyhow::{Context, Result};

use cluster::{Cluster, Start};
use ours::Ours;
use without_cache::WithoutCache;

const SECRETS: usize = 2_000;
/// Of each call to the key service.
const DELAY: Duration = Duration::from_millis(40);
/// What one plugin has wrapped under when it lived for so many days or was started so often since the last rewrite.
const WRAPPING_KEYS: usize = 50;
/// How often each start of ours is measured; the median counts.
const ROUNDS: usize = 3;
/// Our own aim for the time to ready.
const AIM: Duration = Duration::from_secs(5);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    // `KMS_V1_START_PART=100` is a hundredth, for trying it out.
    let part = std::env::var("KMS_V1_START_PART").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let secrets = SECRETS / part;
    println!(
        "{secrets} Secrets under KMS v1, kube-apiserver {}. Times are from the start of kube-apiserver's process. Ours: `keystead-plugin` with the \
         provider `cloudkms` and a real key service, behind a line that holds up all that the plugin sends by {} ms; median of {ROUNDS}.\n",
        cluster::VERSION,
        DELAY.as_millis()
    );
    println!(
        "| plugin | to ready, s | to a complete list, s | Decrypts until then | of these, calls to the key service |"
    );
    println!("|---|---:|---:|---:|---:|");
    ours(secrets).await?;
    without_cache(secrets).await?;
    println!("\nAim: ready within {} s.", AIM.as_secs());
    Ok(())
}

/// Ours, under one wrapping key and under many, where it has run all the time and where it starts with the API server.
async fn ours(secrets: usize) -> Result<()> {
    for wrapping_keys in [1, WRAPPING_KEYS.min(secrets)] {
        let mut ours = Ours::start(DELAY).await?;
        let mut cluster = Cluster::start(&ours.socket()).await?;
        for batch in 0..wrapping_keys {
            if batch > 0 {
                ours.restart().await?;
            }
            cluster.fill(secrets * batch / wrapping_keys..secrets * (batch + 1) / wrapping_keys).await?;
        }
        for (restarted, when) in [(false, "ran before"), (true, "restarted before, nothing in memory")] {
            let mut starts = Vec::new();
            for _ in 0..ROUNDS {
                cluster.stop().await?;
                if restarted {
                    ours.restart().await?;
                }
                let before = ours.counted().await?;
                let start = cluster.start_again(secrets).await?;
                starts.push((start, ours.counted().await?.since(before)));
            }
            starts.sort_by_key(|(start, _)| start.ready);
            let (start, counted) = starts.get(ROUNDS / 2).context("there is a start")?;
            let keys = if wrapping_keys == 1 {
                "1 wrapping key".to_owned()
            } else {
                format!("{wrapping_keys} wrapping keys")
            };
            let (decrypts, unwraps) = (counted.decrypts.to_string(), counted.unwraps.to_string());
            row(&format!("ours, {when}; {keys}"), start, &decrypts, &unwraps);
        }
    }
    Ok(())
}

/// Each Decrypt of the API server is one of the key service, as in plugins that keep nothing.
async fn without_cache(secrets: usize) -> Result<()> {
    let Some(plugin) = WithoutCache::start(DELAY).await? else {
        println!("\nA plugin that keeps nothing was not measured: $KEYSTEAD_GO_REFERENCE_PLUGIN names none.");
        return Ok(());
    };
    let mut cluster = Cluster::start(&plugin.socket()).await?;
    cluster.fill(0..secrets).await?;
    cluster.stop().await?;
    let start = cluster.start_again(secrets).await?;
    let what = "stand-in that keeps nothing: Kubernetes' reference plugin, each of whose calls takes as long; one start";
    row(what, &start, "not counted", "all");
    Ok(())
}

fn row(what: &str, start: &Start, decrypts: &str, calls: &str) {
    let (ready, listed) = (start.ready.as_secs_f64(), start.listed.as_secs_f64());
    println!("| {what} | {ready:.2} | {listed:.2} | {decrypts} | {calls} |");
}
