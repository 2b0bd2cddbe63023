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
mod report;
#[path = "../../tests/it/scene.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod scene;
mod stage;

use std::time::Duration;

use anyhow::Result;

use report::{Report, Row};
use stage::{CONCURRENCY, Stage};

/// Secrets of the first scene.
const SMALL: usize = 10_000;
/// Secrets of the second.
const LARGE: usize = 100_000;
/// How often bare patches and ours take turns in the first scene. In the second, where each takes minutes, once.
const ROUNDS: usize = 3;
/// For what takes longer; what was rewritten until then is counted in etcd.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    // `REENCRYPT_PART=100` is a hundredth, for trying it out.
    let part = std::env::var("REENCRYPT_PART").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    scene(SMALL / part, ROUNDS, true).await?.print();
    println!();
    scene(LARGE / part, 1, false).await?.print();
    Ok(())
}

/// One API server with so many Secrets, and all that is measured on it.
async fn scene(secrets: usize, rounds: usize, others: bool) -> Result<Report> {
    let mut stage = Stage::start(secrets).await?;
    let (mut bare, mut pass, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let mut most = 0;
    for _ in 0..rounds {
        stage.make_all_stale().await?;
        bare.push(stage.bare().await?);
        stage.make_all_stale().await?;
        let ours = stage.ours().await?;
        pass.push(ours.pass);
        whole.push(ours.whole);
        most = most.max(ours.at_once);
    }
    let mut report = Report::new(secrets, rounds, Row::median("bare empty patches", secrets, bare));
    report.bare.what.push_str(&format!(", {CONCURRENCY} at once, names known"));
    report.rows.push(Row::median(
        &format!("`cluster reencrypt`, its first pass, at most {most} at once"),
        secrets,
        pass,
    ));
    report.rows.push(Row::median("`cluster reencrypt`, with the pass that finds zero", secrets, whole));
    if others {
        // The figures of ours are not lost with those of others.
        stage.make_all_stale().await?;
        if let Err(error) = in_tree::measure(&stage, LIMIT, &mut report).await {
            report.notes.push(format!("The in-tree migration was not measured: {error:#}."));
        }
        stage.make_all_stale().await?;
        if let Err(error) = kubectl::measure(&stage, LIMIT, &mut report).await {
            report.notes.push(format!("kubectl was not measured: {error:#}."));
        }
    }
    Ok(report)
}
