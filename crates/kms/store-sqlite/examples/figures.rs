//! Prints what the store does on the disk of a folder, beside a bare loop of writes and syncs on the same disk:
//! `cargo run --release -p keystead-store-sqlite --example figures -- FOLDER [RECORDS...]`
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a measurement prints, and ends when it cannot measure"
)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystead_store::{Batch, Store};
use keystead_store_sqlite::{SqliteSettings, SqliteStore};
use tokio::task::JoinSet;

/// About what a key version takes.
const VALUE: usize = 600;
const LASTS: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder on the disk to measure");
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let sizes: Vec<usize> = arguments.map(|size| size.parse().expect("a number of records")).collect();
    syncs(folder.path());
    for committers in [1, 8, 64] {
        commits(folder.path(), committers).await;
    }
    for records in if sizes.is_empty() { vec![100_000] } else { sizes } {
        start(folder.path(), records).await;
    }
}

fn syncs(folder: &Path) {
    let mut file = File::create(folder.join("bare")).expect("a file");
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < LASTS {
        file.write_all(&[7; 4096]).expect("written");
        file.sync_data().expect("synced");
        count += 1;
    }
    println!("bare write of 4 KiB and fdatasync: {:.0}/s", f64::from(count) / begun.elapsed().as_secs_f64());
}

async fn commits(folder: &Path, committers: u32) {
    let path = folder.join(format!("commits{committers}")).join("keystead.db");
    let store = Arc::new(SqliteStore::open(&path, SqliteSettings::default()).expect("a store"));
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for committer in 0..committers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while begun.elapsed() < LASTS {
                let name = format!("version/{committer}/{:010}", taken.len());
                let asked = Instant::now();
                store.commit(Batch::default().create(name, vec![7; VALUE])).await.expect("committed");
                taken.push(asked.elapsed());
            }
            taken
        });
    }
    let taken = tasks.join_all().await.concat();
    report(&format!("commits, {committers} at once"), begun.elapsed(), taken);
}

async fn start(folder: &Path, records: usize) {
    let path = folder.join(format!("start{records}")).join("keystead.db");
    let store = SqliteStore::open(&path, SqliteSettings::default()).expect("a store");
    let name = |record: usize| {
        let key = record / 10;
        format!(
            "version/projects/p/locations/global/keyRings/r{}/cryptoKeys/k{key}/{:010}",
            key % 100,
            record % 10
        )
    };
    for first in (0..records).step_by(1000) {
        let batch = (first..records.min(first + 1000))
            .fold(Batch::default(), |batch, record| batch.create(name(record), value(record)));
        store.commit(batch).await.expect("committed");
    }
    drop(store);
    let size = path.metadata().expect("a file").len() >> 20;
    let every = SqliteSettings { checked_first: u64::MAX, ..SqliteSettings::default() };
    for (how, settings) in [("checked first", every), ("as by default", SqliteSettings::default())] {
        let begun = Instant::now();
        let store = SqliteStore::open(&path, settings).expect("a store");
        let opened = begun.elapsed();
        store.get(&name(0)).await.expect("an answer").expect("a record");
        println!(
            "start with {records} records ({size} MiB), {how}: {opened:.1?}, first answer {:.1?}",
            begun.elapsed()
        );
    }
    let store = Arc::new(
        SqliteStore::open(&path, SqliteSettings { checked_first: u64::MAX, ..SqliteSettings::default() })
            .expect("a store"),
    );
    for clients in [1, 8] {
        let (begun, mut tasks) = (Instant::now(), JoinSet::new());
        for client in 0..clients {
            let store = store.clone();
            tasks.spawn(async move {
                let (mut taken, mut record) = (Vec::new(), client);
                while begun.elapsed() < LASTS {
                    record = (record + 7919) % records;
                    let asked = Instant::now();
                    store.get(&name(record)).await.expect("an answer").expect("a record");
                    taken.push(asked.elapsed());
                }
                taken
            });
        }
        let taken = tasks.join_all().await.concat();
        report(&format!("get among {records}, {clients} at once"), begun.elapsed(), taken);
    }
    let timed = Instant::now();
    store.count("version/").await.expect("a count");
    println!("count of {records}: {:.1?}", timed.elapsed());
    let victim = store.get(&name(records / 2)).await.expect("an answer").expect("a record");
    let timed = Instant::now();
    store.commit(Batch::default().delete(victim.name, victim.revision).erasing()).await.expect("erased");
    while store.is_erasing() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    println!("erasure among {records}: {:.1?}", timed.elapsed());
    let timed = Instant::now();
    store.backup(&folder.join(format!("backup{records}"))).await.expect("a backup");
    println!("backup of {records}: {:.1?}", timed.elapsed());
}

/// No two alike, like sealed bytes: an erasure looks for them.
fn value(record: usize) -> Vec<u8> {
    let mut number = record as u64 | 1 << 63;
    let mut bytes = Vec::with_capacity(VALUE);
    while bytes.len() < VALUE {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

fn report(what: &str, over: Duration, mut taken: Vec<Duration>) {
    taken.sort_unstable();
    let at = |share: usize| taken.get(taken.len() * share / 100).copied().unwrap_or_default();
    let rate = taken.len() as f64 / over.as_secs_f64();
    println!("{what}: {rate:.0}/s, p50 {:.1?}, p99 {:.1?}", at(50), at(99));
}
