//! Waiting for something to become true.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// Asks until the answer is yes, or fails after `patience` and says what it waited for.
pub(crate) async fn eventually(
    what: &str,
    patience: Duration,
    mut check: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + patience;
    while !check().await? {
        if Instant::now() > end {
            bail!("after {patience:?} still not: {what}");
        }
        // Long beside the cost of a check, short beside what is waited for.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
