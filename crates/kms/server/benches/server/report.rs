//! What is measured, in which order, and how it is printed.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::bare_tonic::Bare;
use crate::disk;
use crate::load::{Case, Figures, measure};
use crate::stage::Stage;

/// Clients, each with a connection of its own and one call under way.
const CLIENTS: [usize; 3] = [1, 8, 64];
/// Rounds, in turn over what is compared; the median counts.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const BARE: &str = "limit: bare tonic, one AES-256-GCM, gRPC";
const DURABLE: &str = "limit: the same, answered when 900 bytes are on the disk";

/// Measures everything and prints it.
pub(crate) async fn print() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stage = Stage::new(directory.path()).await?;
    println!(
        "Calls per second with mTLS; 32 bytes; every call of ours is in the audit log and on the disk before its answer.\n"
    );
    heading();
    let bare = Bare::start(directory.path(), &stage)?;
    let durable = Bare::start_durable(directory.path(), &stage)?;
    for clients in CLIENTS {
        let cases = [
            ("Encrypt, gRPC", stage.encrypt_call()),
            ("Decrypt, gRPC", stage.decrypt_grpc()),
            ("Encrypt, REST", stage.encrypt_rest()),
            ("Decrypt, REST", stage.decrypt_rest()),
            (BARE, bare.encrypt(&stage)),
            (DURABLE, durable.encrypt(&stage)),
        ];
        for (name, figures) in in_turn(&cases, clients).await? {
            row(name, clients, &figures);
        }
    }
    disk_limit(directory.path())?;
    policies_and_keys(&stage).await?;
    start(directory.path(), stage).await
}

/// Measures Encrypt over gRPC, and its limits.
pub(crate) async fn print_brief() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stage = Stage::new(directory.path()).await?;
    let bare = Bare::start(directory.path(), &stage)?;
    let durable = Bare::start_durable(directory.path(), &stage)?;
    heading();
    for clients in CLIENTS {
        let cases = [
            ("Encrypt, gRPC", stage.encrypt_call()),
            (BARE, bare.encrypt(&stage)),
            (DURABLE, durable.encrypt(&stage)),
        ];
        for (name, figures) in in_turn(&cases, clients).await? {
            row(name, clients, &figures);
        }
    }
    disk_limit(directory.path())
}

fn heading() {
    println!("| call | clients | calls/s | p50 / p99, us | CPU of the server, us |");
    println!("|---|---:|---:|---:|---:|");
}

fn disk_limit(directory: &Path) -> Result<()> {
    let syncs = disk::syncs_per_second(directory)?;
    println!(
        "\nlimit: {syncs:.0} times a second one record of 900 bytes is written and synced on this disk, one after another.\n"
    );
    Ok(())
}

/// Encrypt at 8 clients while policies and keys grow.
async fn policies_and_keys(stage: &Stage) -> Result<()> {
    println!("| Encrypt over gRPC, 8 clients | calls/s | p50 / p99, us | CPU of the server, us |");
    println!("|---|---:|---:|---:|");
    let line = |name: &str, figures: &Figures| {
        println!(
            "| {name} | {:.0} | {} / {} | {:.0} |",
            figures.rate, figures.p50_us, figures.p99_us, figures.cpu_us
        );
    };
    line("one key, three bindings", &in_turn(&[("", stage.encrypt_call())], 8).await?[0].1);
    stage.grant_a_thousand().await?;
    line(
        "policies of 1,000 members, 100 under conditions, on key, ring and project",
        &in_turn(&[("", stage.encrypt_call())], 8).await?[0].1,
    );
    let keys = stage.create_keys(10_000).await?;
    line("10,000 keys in turn", &in_turn(&[("", stage.encrypt_with(&keys))], 8).await?[0].1);
    Ok(())
}

/// From the start of the process to the first good answer, with 100,000 versions.
async fn start(directory: &Path, stage: Stage) -> Result<()> {
    const VERSIONS: usize = 100_000;
    stage.create_versions(VERSIONS).await?;
    let times = stage.restart_times(ROUNDS).await?;
    println!(
        "\nStart with {VERSIONS} versions of 10,000 keys: {times:.0?} ms to the first Decrypt that opens."
    );
    let size = std::fs::metadata(directory.join("data/keystead.db"))?.len();
    println!("The database has {} MiB then.", size >> 20);
    Ok(())
}

/// The median of several rounds, each of which measures every case once.
async fn in_turn<'a>(cases: &[(&'a str, Case)], clients: usize) -> Result<Vec<(&'a str, Figures)>> {
    let mut measured: Vec<Vec<Figures>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, case), rounds) in cases.iter().zip(&mut measured) {
            rounds.push(measure(case, clients, ROUND).await?);
        }
    }
    let median = |mut rounds: Vec<Figures>| {
        rounds.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        rounds.swap_remove(rounds.len() / 2)
    };
    Ok(cases.iter().map(|(name, _)| *name).zip(measured.into_iter().map(median)).collect())
}

fn row(name: &str, clients: usize, figures: &Figures) {
    println!(
        "| {name} | {clients} | {:.0} | {} / {} | {:.0} |",
        figures.rate, figures.p50_us, figures.p99_us, figures.cpu_us
    );
}
