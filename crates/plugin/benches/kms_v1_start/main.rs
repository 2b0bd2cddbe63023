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
mod rows;
#[path = "../../tests/it/key_service/service.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod service;
mod slow_line;
mod without_cache;

use std::time::Duration;

use anyhow::Result;

const SECRETS: usize = 2_000;
/// Of each call to the key service.
const DELAY: Duration = Duration::from_millis(40);
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
    rows::ours(secrets).await?;
    rows::without_cache(secrets).await?;
    println!("\nAim: ready within {} s.", AIM.as_secs());
    Ok(())
}
