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
mod report;

use std::path::Path;

use anyhow::Result;
use keystead_testkit::control_plane::{ControlPlane, Options};

use filled::Filled;
use program::{Counted, inventory};
use report::Measured;

const VALUES: u64 = 1_000_000;
/// Each in turn so often; the median counts.
const ROUNDS: usize = 3;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    // `INVENTORY_PART=100` is a hundredth, for trying it out.
    let part = std::env::var("INVENTORY_PART").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut control_plane = ControlPlane::prepare(Options { api_servers: 0, ..Options::default() }).await?;
    let url = control_plane.etcd().url().to_owned();
    let filled = filled::fill(&url, VALUES / part).await?;
    let snapshot = control_plane.directory().join("saved.db");
    maintenance::save_snapshot(&url, &snapshot).await?;

    let mut measured = Measured::default();
    for _ in 0..ROUNDS {
        measured.scans.push(bare::scan(&url, &filled).await?);
        measured.live.push(inventory(&["inventory", "--endpoints", &url], &filled)?);
    }
    control_plane.etcd_mut().stop().await?;
    let database = control_plane.etcd().database();
    for _ in 0..ROUNDS {
        measured.read.push(bare::read(&snapshot)?);
        measured.saved.push(of_file(&snapshot, &filled)?);
        measured.own.push(of_file(database, &filled)?);
    }
    measured.print(&filled, &snapshot)
}

fn of_file(file: &Path, filled: &Filled) -> Result<Counted> {
    let Some(path) = file.to_str() else { anyhow::bail!("{} is not text", file.display()) };
    inventory(&["snapshot", "inventory", path], filled)
}
