//! Re-encrypts 10,000 Secrets on a real kube-apiserver, beside bare concurrent empty patches of the same Secrets in the same run:
//! `cargo xtask bench reencrypt`.
//!
//! Prints Markdown. Figures are only comparable within one run; the machine should do nothing else.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that prints figures, run by hand"
)]

#[path = "../tests/it/scene.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod scene;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use keystead_cluster::reencrypt::{Control, Ending};
use keystead_testkit::api::Kind;

use scene::{Scene, secrets};

const SECRETS: usize = 10_000;
/// As many at once as our limit for both.
const CONCURRENCY: usize = 32;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.fill("default", SECRETS).await?;

    scene.encrypt_with(&["one"]).await?;
    let bare = bare(&scene).await?;
    ensure!(scene.stored().await? == [("one".to_owned(), SECRETS as u64)], "bare patches left something");

    scene.encrypt_with(&["two", "one"]).await?;
    let control = Control { concurrency_max: CONCURRENCY, passes_max: 1, ..Control::default() };
    let start = Instant::now();
    let mut seen = 0;
    let run =
        scene.reencrypt_with(secrets(), control, None, &mut |it| seen = seen.max(it.concurrency)).await?;
    let ours = start.elapsed();
    // One pass is compared, and that one rewrote all.
    ensure!((run.report.ending, run.report.rewritten()) == (Ending::StillRewriting, SECRETS as u64));
    ensure!(scene.stored().await? == [("two".to_owned(), SECRETS as u64)], "the pass left something");

    let rate = |time: Duration| SECRETS as f64 / time.as_secs_f64();
    println!("{SECRETS} Secrets of kube-apiserver on this machine, static keys, each rewritten once.\n");
    println!("| | Secrets/s | seconds |\n|---|---:|---:|");
    println!(
        "| `cluster reencrypt`, one pass, at most {seen} at once | {:.0} | {:.1} |",
        rate(ours),
        ours.as_secs_f64()
    );
    println!(
        "| limit: bare empty patches, {CONCURRENCY} at once, names known | {:.0} | {:.1} |",
        rate(bare),
        bare.as_secs_f64()
    );
    Ok(())
}

/// The names are known, and nothing is counted.
async fn bare(scene: &Scene) -> Result<Duration> {
    let client = scene.client();
    let start = Instant::now();
    let patch =
        |index: usize| async move { client.touch(Kind::Secret, "default", &format!("s-{index:05}")).await };
    stream::iter(0..SECRETS).map(patch).buffer_unordered(CONCURRENCY).try_collect::<Vec<_>>().await?;
    Ok(start.elapsed())
}
