//! The rows of the report.

use anyhow::{Context, Result};

use crate::cluster::{Cluster, Start};
use crate::ours::Ours;
use crate::without_cache::WithoutCache;
use crate::{DELAY, ROUNDS};

/// What one plugin has wrapped under when it lived for so many days or was started so often since the last rewrite.
const WRAPPING_KEYS: usize = 50;

/// Ours, under one wrapping key and under many, where it has run all the time and where it starts with the API server.
pub(crate) async fn ours(secrets: usize) -> Result<()> {
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
pub(crate) async fn without_cache(secrets: usize) -> Result<()> {
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
