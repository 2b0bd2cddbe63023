//! Restarts three real API servers one after another with 100,000 Secrets in etcd, and then upgrades them to the next minor version,
//! while clients read and write Secrets through all of them: `cargo xtask bench upgrade`.
//!
//! Once with the Secrets in plain, once under KMS v2 and once under KMS v1. Prints Markdown, and on stderr how far it is. Figures are
//! only comparable within one run; the machine should do nothing else.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a program that prints figures, run by hand"
)]

#[path = "../tests/it/upgrade/clients.rs"]
mod clients;
#[path = "../tests/it/upgrade/cluster.rs"]
mod cluster;
#[path = "../tests/it/upgrade/host.rs"]
mod host;
#[path = "../tests/it/upgrade/load.rs"]
mod load;

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use cluster::{Cluster, FROM, Filled, Restarted, TO};
use host::Encryption;
use load::{Load, Seen};

/// `UPGRADE_SECRETS=1000` tries it out.
const SECRETS: usize = 100_000;
/// A multiple of what it takes, for a machine that hangs. What was started ends with this process.
const LIMIT: Duration = Duration::from_hours(3);

/// What was measured with one encryption.
struct Measured {
    encryption: &'static str,
    filled: Filled,
    rolls: [Roll; 2],
}

/// All API servers, one after another.
struct Roll {
    name: String,
    starts: Vec<Restarted>,
    seen: Seen,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    tokio::time::timeout(LIMIT, measure()).await.context("it takes far too long")?
}

async fn measure() -> Result<()> {
    let secrets = match std::env::var("UPGRADE_SECRETS") {
        Ok(text) => text.parse().context("UPGRADE_SECRETS is no number of Secrets")?,
        Err(_) => SECRETS,
    };
    let kinds = [(Encryption::Identity, "none"), (Encryption::V2, "KMS v2"), (Encryption::V1, "KMS v1")];
    let mut all = Vec::new();
    for (encryption, name) in kinds {
        all.push(run(encryption, name, secrets).await?);
    }
    print(secrets, &all);
    Ok(())
}

async fn run(encryption: Encryption, name: &'static str, secrets: usize) -> Result<Measured> {
    let begin = Instant::now();
    let told = |what: &str| eprintln!("{name}, {:.0} s: {what}", begin.elapsed().as_secs_f64());
    told("three API servers start");
    let mut cluster = Cluster::start(encryption).await?;
    told("Secrets are created");
    let filled = cluster.fill(secrets).await?;
    told(&format!("the API servers restart one after another; filled in {:.0} s", filled.took.as_secs_f64()));
    let restart = roll(&mut cluster, format!("restart, {FROM}"), "restart", FROM, &told).await?;
    told("they are upgraded one after another");
    let upgrade = roll(&mut cluster, format!("{FROM} to {TO}"), "upgrade", TO, &told).await?;
    Ok(Measured { encryption: name, filled, rolls: [restart, upgrade] })
}

async fn roll(
    cluster: &mut Cluster,
    name: String,
    phase: &'static str,
    version: &str,
    told: &impl Fn(&str),
) -> Result<Roll> {
    let load = Load::start(cluster, phase).await.map_err(anyhow::Error::msg)?;
    let mut starts = Vec::new();
    for index in 0..cluster.api_servers() {
        let start = cluster.restart(index, version).await?;
        told(&format!("{start:?}"));
        starts.push(start);
    }
    let seen = load.stop(cluster).await.map_err(anyhow::Error::msg)?;
    told(&format!("{seen:?}"));
    Ok(Roll { name, starts, seen })
}

fn print(secrets: usize, all: &[Measured]) {
    println!(
        "{secrets} Secrets of 1 KiB, three API servers on one etcd that does not wait for the disk, a plugin with a key file beside \
         each; three writers and three readers.\n"
    );
    println!(
        "| filled through all three, encrypted by | Secrets/s | seconds | Encrypts | Decrypts | calls of the key's backend |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for Measured { encryption, filled: Filled { took, calls }, .. } in all {
        let seconds = took.as_secs_f64();
        let rate = secrets as f64 / seconds;
        let (encrypts, decrypts, misses) = (calls.encrypts, calls.decrypts, calls.misses);
        println!("| {encryption} | {rate:.0} | {seconds:.0} | {encrypts} | {decrypts} | {misses} |");
    }

    println!(
        "\nThe first, second and third API server. Decrypts are those that the plugin of its host was asked for.\n"
    );
    println!(
        "| encrypted by | step | SIGTERM to end, s | start to `/livez`, s | start to `/readyz`, s | Decrypts until then | calls of the key's backend | \
         first list of all, pages of 500, s | Secrets/s | Decrypts of the list | resident, MiB |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (encryption, roll) in rolls(all) {
        let starts = &roll.starts;
        println!(
            "| {encryption} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            roll.name,
            each(starts, |it| format!("{:.1}", it.stop.as_secs_f64())),
            each(starts, |it| format!("{:.1}", it.live.as_secs_f64())),
            each(starts, |it| format!("{:.1}", it.ready.as_secs_f64())),
            each(starts, |it| it.ready_calls.decrypts),
            each(starts, |it| it.ready_calls.misses + it.list_calls.misses),
            each(starts, |it| format!("{:.1}", it.list.as_secs_f64())),
            each(starts, |it| format!("{:.0}", secrets as f64 / it.list.as_secs_f64())),
            each(starts, |it| it.list_calls.decrypts),
            each(starts, |it| it.resident_mib),
        );
    }

    println!(
        "\nThe clients. Each uses another API server while its own is away; a call has failed if none helped.\n"
    );
    println!(
        "| encrypted by | step | for, s | reads | failed | slowest, s | writes | failed | slowest, s | lost updates, wrong values | \
         connections refused | cut | told to wait | errors of the plugin |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (encryption, Roll { name, starts, seen }) in rolls(all) {
        let failures: u64 = starts.iter().map(|it| it.ready_calls.failures + it.list_calls.failures).sum();
        println!(
            "| {encryption} | {name} | {:.0} | {} | {} | {:.1} | {} | {} | {:.1} | {} | {} | {} | {} | {failures} |",
            seen.took.as_secs_f64(),
            seen.reads.done,
            seen.reads.failed.len(),
            seen.reads.slowest.as_secs_f64(),
            seen.writes.done,
            seen.writes.failed.len(),
            seen.writes.slowest.as_secs_f64(),
            seen.lost.len(),
            seen.refused,
            seen.cut,
            seen.told_to_wait,
        );
    }
}

fn rolls(all: &[Measured]) -> impl Iterator<Item = (&str, &Roll)> {
    all.iter().flat_map(|it| it.rolls.iter().map(|roll| (it.encryption, roll)))
}

fn each<T: Display>(starts: &[Restarted], figure: impl Fn(&Restarted) -> T) -> String {
    starts.iter().map(|it| figure(it).to_string()).collect::<Vec<_>>().join(", ")
}
