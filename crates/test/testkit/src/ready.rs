//! Waiting for a server.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::MissedTickBehavior;

use crate::process::Process;

/// Asks `check` until it is content, or says why that will not happen: the process ended, or `patience` did.
pub(crate) async fn wait(
    name: &str,
    process: &mut Process,
    patience: Duration,
    mut check: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    // Short beside the seconds of a start, long beside the check's own cost.
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    let attempts = async {
        loop {
            pause.tick().await;
            match check().await {
                Ok(()) => break,
                Err(error) => last = Some(error),
            }
        }
    };
    tokio::select! {
        () = attempts => return Ok(()),
        status = process.wait() => {
            bail!("{name} ended with status {}; its log:\n{}", status?, process.tail());
        }
        () = tokio::time::sleep(patience) => {}
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no answer")))
        .with_context(|| format!("{name} is not ready after {patience:?}; its log:\n{}", process.tail()))
}
