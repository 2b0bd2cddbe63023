//! Re-encrypts 10,000 and 100,000 Secrets on a real kube-apiserver, beside bare concurrent empty patches of the same Secrets, the in-tree
//! StorageVersionMigration and `kubectl get | kubectl replace` in the same run: `cargo xtask bench reencrypt`.
//!
//! Prints Markdown. Figures are only comparable within one run; the machine should do nothing else.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that prints figures, run by hand"
)]

mod in_tree;
mod kubectl;
mod measure;
mod report;
#[path = "../../tests/it/scene.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod scene;
mod stage;

use anyhow::Result;

use measure::measure;

/// Secrets of the first scene.
const SMALL: usize = 10_000;
/// Secrets of the second.
const LARGE: usize = 100_000;
/// How often bare patches and ours take turns in the first scene. In the second, where each takes minutes, once.
const ROUNDS: usize = 3;
#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    // `REENCRYPT_PART=100` is a hundredth, for trying it out.
    let part = std::env::var("REENCRYPT_PART").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    measure(SMALL / part, ROUNDS, true).await?.print();
    println!();
    measure(LARGE / part, 1, false).await?.print();
    Ok(())
}
