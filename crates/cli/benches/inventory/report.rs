//! What came out, as Markdown.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use keystead_testkit::control_plane::DEFAULT_VERSION;

use crate::ROUNDS;
use crate::filled::{self, Filled};
use crate::program::Counted;

/// Our own aim for the program's memory.
const AIM_MIB: u64 = 64;

/// What was measured, each as often as there are rounds.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) scans: Vec<Duration>,
    pub(crate) read: Vec<Duration>,
    pub(crate) live: Vec<Counted>,
    pub(crate) saved: Vec<Counted>,
    pub(crate) own: Vec<Counted>,
}

impl Measured {
    pub(crate) fn print(self, filled: &Filled, snapshot: &Path) -> Result<()> {
        let (scan, read) = (median(self.scans), median(self.read));
        let size = std::fs::metadata(snapshot)?.len() >> 20;
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
        program("`cluster inventory` of the running etcd", &self.live);
        program("`cluster snapshot inventory` of a saved snapshot, whose hash is checked", &self.saved);
        program("`cluster snapshot inventory` of `member/snap/db`, without a hash", &self.own);
        let pages = format!("bare range scan, {} keys a page, answers dropped", filled.page());
        row(&pages, scan, None);
        row("bare reading of the saved snapshot, 1 MiB at a time", read, None);
        let aim = if most < AIM_MIB << 10 { "kept" } else { "NOT kept" };
        println!("\nAim for memory: {AIM_MIB} MiB, {aim}.");
        Ok(())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
