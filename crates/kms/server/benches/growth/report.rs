//! What is measured, in which order, and how it is printed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use keystead_keyservice::Filling;

use crate::connection::Target;
use crate::filled;
use crate::lists::{Kind, PAGE};
use crate::load::{Case, cpu, measure};
use crate::stage::{RING, Stage};

const FILLING: [u32; 6] = [100_000, 10, 10_000, 10_000, 1_500, 10];
/// Key rings, service accounts, tokens and retired resources, which calls make.
const BY_CALLS: usize = 1_000;
/// Callers of filtered lists.
const CALLERS: usize = 64;
const ROUND: Duration = Duration::from_secs(5);
/// A list that is read whole takes its time.
const LONG_ROUND: Duration = Duration::from_secs(30);

/// Measures everything and prints it. Names of environment variables that make it smaller are for trying it out.
pub(crate) async fn print() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    std::fs::write(directory.path().join("growth.yaml"), "listen: [\"127.0.0.1:0\"]\n")?;
    let [keys, versions, versions_of_first, projects, members, large_every] = FILLING.map(scaled);
    let stage = Stage::new(directory.path()).await?;
    stage.create_for_lists(BY_CALLS).await?;
    let ring = RING.parse()?;
    let filling = Filling { ring, keys, versions, versions_of_first, projects, members, large_every };
    let (stage, started) = stage.restart_after(|| filled::fill(&data, &filling)).await?;
    let memory = Memory::of(stage.pid())?;
    println!(
        "A server with {keys} keys and {} versions in one ring, {projects} projects, and policies of {members} members on that ring, its \
         project, one key and every {large_every}th project. The database has {} MiB.\n",
        (keys - 1) * versions + versions_of_first,
        mib(std::fs::metadata(data.join("keystead.db"))?.len())
    );
    println!("Start to the first Decrypt that opens: {started:.2?}; then resident: {memory}.\n");
    settled(stage.pid()).await?;
    let admin = stage.admin().await?;
    pages(&admin).await?;
    filtered(&stage, &admin).await?;
    stage.stop().await?;
    println!("\n| a page of {PAGE} | allocated from beginning to end, KiB |\n|---|---:|");
    for (kind, bytes) in filled::allocated(&data).await? {
        println!("| {} | {} |", kind.name(), bytes >> 10);
    }
    println!(
        "\nEverything that a server in the benchmark's own process allocates for a page, also what it gives back at once; without SQLite's \
         own memory, which is its page cache."
    );
    Ok(())
}

/// `GROWTH_PART=100` is a hundredth, for trying it out.
fn scaled(number: u32) -> u32 {
    let part = std::env::var("GROWTH_PART").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    if number > 1_500 { number / part } else { number }
}

async fn pages(admin: &Target) -> Result<()> {
    println!(
        "| a page of {PAGE}, one client | of | first page, p50 / p99 / CPU of the server, ms | in the middle, the same |"
    );
    println!("|---|---:|---:|---:|");
    for kind in Kind::ALL {
        let (items, middle) = kind.middle(admin).await?;
        let mut cells = Vec::new();
        for token in ["", middle.as_str()] {
            let calls = Arc::new(vec![kind.call(PAGE, token, "")]);
            let figures = measure(&Case { target: admin.clone(), calls }, 1, ROUND).await?;
            let cpu = figures.cpu_us / 1e3;
            cells.push(format!("{} / {} / {cpu:.1}", ms(figures.p50_us), ms(figures.p99_us)));
        }
        println!("| {} | {items} | {} |", kind.name(), cells.join(" | "));
    }
    Ok(())
}

/// Encrypt while callers list every tenth key of the ring, found by a label.
async fn filtered(stage: &Stage, admin: &Target) -> Result<()> {
    println!("\n| Encrypt, one client, beside | calls/s | p50 / p99, ms | filtered lists/s | resident |");
    println!("|---|---:|---:|---:|---:|");
    let encrypt = stage.encrypt_call();
    let alone = measure(&encrypt, 1, ROUND).await?;
    let row = |what: &str, figures: &crate::load::Figures, lists: f64| -> Result<()> {
        let memory = Memory::of(stage.pid())?;
        println!(
            "| {what} | {:.0} | {} / {} | {lists:.2} | {memory} |",
            figures.rate,
            ms(figures.p50_us),
            ms(figures.p99_us)
        );
        Ok(())
    };
    row("nothing", &alone, 0.0)?;
    let calls = Arc::new(vec![Kind::Keys.call(PAGE, "", "labels.tenth=3")]);
    let lists = Case { target: admin.clone(), calls };
    let (beside, lists) =
        tokio::join!(measure(&encrypt, 1, LONG_ROUND), measure(&lists, CALLERS, LONG_ROUND));
    row(&format!("{CALLERS} callers of filtered lists of keys"), &beside?, lists?.rate)
}

/// Until what a server does after its start is over: it reads all that may be due.
async fn settled(pid: u32) -> Result<()> {
    let mut before = cpu(pid)?;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = cpu(pid)?;
        if now - before < Duration::from_millis(100) {
            return Ok(());
        }
        before = now;
    }
}

/// Memory of a process, as `/proc` has it.
struct Memory {
    now: u64,
    peak: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
        let field = |name: &str| -> Result<u64> {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).context("a field of status")?;
            Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
        };
        Ok(Self { now: field("VmRSS:")?, peak: field("VmHWM:")? })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MiB, at most {}", mib(self.now), mib(self.peak))
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

fn ms(us: u64) -> String {
    format!("{:.1}", us as f64 / 1e3)
}
