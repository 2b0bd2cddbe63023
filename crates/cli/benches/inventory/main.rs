//! The inventory of 1,000,000 stored values by the `keystead` program, from a running etcd and from its snapshot, beside bare range scans
//! with pages as large and bare reading of the same file, in one run: `cargo xtask bench inventory`.
//!
//! Prints Markdown. Figures are only comparable within one run; the machine should do nothing else.
#![expect(clippy::print_stdout, reason = "a program that prints figures, run by hand")]

mod bare;
mod filled;
#[path = "../../../cluster/etcd/tests/it/snapshot/maintenance.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod maintenance;
mod program;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use keystead_testkit::control_plane::{ControlPlane, DEFAULT_VERSION, Options};

use filled::Filled;
use program::{Counted, inventory};

const VALUES: u64 = 1_000_000;
/// Each in turn so often; the median counts.
const ROUNDS: usize = 3;
/// Our own aim for the program's memory.
const AIM_MIB: u64 = 64;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    // `INVENTORY_PART=100` is a hundredth, for trying it out.
    let part = std::env::var("INVENTORY_PART").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut control_plane = ControlPlane::prepare(Options { api_servers: 0, ..Options::default() }).await?;
    let url = control_plane.etcd().url().to_owned();
    let filled = filled::fill(&url, VALUES / part).await?;
    let snapshot = control_plane.directory().join("saved.db");
    maintenance::save_snapshot(&url, &snapshot).await?;

    let (mut live, mut scans) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        scans.push(bare::scan(&url, &filled).await?);
        live.push(inventory(&["inventory", "--endpoints", &url], &filled)?);
    }
    control_plane.etcd_mut().stop().await?;
    let database = control_plane.etcd().database();
    let (mut saved, mut own, mut read) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        read.push(bare::read(&snapshot)?);
        saved.push(of_file(&snapshot, &filled)?);
        own.push(of_file(database, &filled)?);
    }

    let (scan, read) = (median(scans), median(read));
    let size = std::fs::metadata(&snapshot)?.len() >> 20;
    println!(
        "{} values of KMS v2 under `{}`, {} bytes each with their keys, written to the etcd of Kubernetes {DEFAULT_VERSION} on this machine; its \
         snapshot has {size} MiB and is in the page cache. The program runs as a process of its own, from its start to its end. Median of {ROUNDS} in \
         turn; memory is the most of all.\n",
        filled.values,
        filled::PREFIX,
        filled.bytes
    );
    println!("| | seconds | values/s | of bare scans | peak resident, MiB |\n|---|---:|---:|---:|---:|");
    let row = |what: &str, took: Duration, memory: Option<u64>| {
        let seconds = took.as_secs_f64();
        println!(
            "| {what} | {seconds:.2} | {:.0} | {:.0} % | {} |",
            filled.values as f64 / seconds,
            scan.as_secs_f64() / seconds * 100.0,
            memory.map_or_else(|| "-".to_owned(), |kib| format!("{:.1}", kib as f64 / 1024.0))
        );
    };
    let mut most = 0;
    let mut program = |what: &str, runs: &[Counted]| {
        let memory = runs.iter().map(|it| it.peak_kib).max().unwrap_or_default();
        most = most.max(memory);
        row(what, median(runs.iter().map(|it| it.took).collect()), Some(memory));
    };
    program("`cluster inventory` of the running etcd", &live);
    program("`cluster snapshot inventory` of a saved snapshot, whose hash is checked", &saved);
    program("`cluster snapshot inventory` of `member/snap/db`, without a hash", &own);
    let pages = format!("bare range scan, {} keys a page, answers dropped", filled.page());
    row(&pages, scan, None);
    row("bare reading of the saved snapshot, 1 MiB at a time", read, None);
    let aim = if most < AIM_MIB << 10 { "kept" } else { "NOT kept" };
    println!("\nAim for memory: {AIM_MIB} MiB, {aim}.");
    Ok(())
}

fn of_file(file: &Path, filled: &Filled) -> Result<Counted> {
    let Some(path) = file.to_str() else { anyhow::bail!("{} is not text", file.display()) };
    inventory(&["snapshot", "inventory", path], filled)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// All that was written was counted, and nothing else.
fn check(filled: &Filled, counted: u64) -> Result<()> {
    ensure!(counted == filled.values, "{counted} values were counted of {}", filled.values);
    Ok(())
}
