//! Measures commits beside the destruction of 10,000 key versions in a database of 2 GB, and the same commits without it, in one
//! run: `cargo xtask bench erasure`.
//!
//! Prints Markdown. Figures are only comparable within one run; the machine should do nothing else.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program that prints figures, run by hand")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keystead_store::{Batch, Store};
use keystead_store_sqlite::{SqliteSettings, SqliteStore};
use tokio::task::JoinSet;

/// Each has a record and a sealed material.
const VERSIONS: usize = 400_000;
/// A version is made for each key in turn, so that pages are split as they are in a server's database.
const KEYS: usize = 50_000;
const DESTROYED: usize = 10_000;
/// What fills the rest of the 2 GB: as many policies of 1,500 members.
const POLICIES: usize = 14_000;
const POLICY: usize = 120_000;
const VERSION: usize = 300;
const MATERIAL: usize = 100;
const OUTBOX: usize = 900;
const COMMITTERS: u64 = 8;
/// Writes of one commit while the database is filled.
const TOGETHER: usize = 1000;
const ROUND: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data").join("keystead.db");
    fill(&path).await;
    let size = path.metadata().expect("a file").len() >> 20;
    let store = Arc::new(SqliteStore::open(&path, SqliteSettings::default()).expect("a store"));
    println!(
        "Commits of 600 bytes at {COMMITTERS} callers in a database of {size} MiB, in which nothing was erased before.\n"
    );
    println!("| beside them | for | commits | p50, ms | p99, ms | maximum, ms |");
    println!("|---|---:|---:|---:|---:|---:|");
    let pause = tokio::time::sleep(ROUND);
    row("nothing", beside(&store, pause).await);
    row(
        &format!("{DESTROYED} versions deleted, not erased"),
        beside(&store, destroy(&store, 0, false)).await,
    );
    row(
        &format!("{DESTROYED} versions destroyed, to the end of their erasure"),
        beside(&store, destroy(&store, 1, true)).await,
    );
    row(&format!("{DESTROYED} more"), beside(&store, destroy(&store, 2, true)).await);
}

async fn fill(path: &Path) {
    let settings = SqliteSettings { changes_kept: 64, ..SqliteSettings::default() };
    let store = SqliteStore::open(path, settings).expect("a store");
    let mut numbers = Numbers(1);
    for policy in 0..POLICIES {
        let batch = Batch::default().put(format!("policy/projects/p-{policy:06}"), numbers.bytes(POLICY));
        store.commit(batch).await.expect("committed");
    }
    for first in (0..VERSIONS).step_by(TOGETHER / 2) {
        let mut batch = Batch::default();
        for version in first..first + TOGETHER / 2 {
            batch = batch
                .put(record("version", version), numbers.bytes(VERSION))
                .put(record("material", version), numbers.bytes(MATERIAL));
        }
        store.commit(batch).await.expect("committed");
    }
    store.checkpoint().await.expect("a checkpoint");
}

fn record(kind: &str, version: usize) -> String {
    let (key, number) = (version % KEYS, version / KEYS + 1);
    format!("{kind}/projects/key-project/locations/us-central1/keyRings/ring/key-{key:06}/{number:010}")
}

/// One after another, as the schedule destroys what is due: the material goes, the version's record is replaced, an audit record is
/// committed with it and the one before deleted.
async fn destroy(store: &SqliteStore, part: usize, erase: bool) {
    let mut numbers = Numbers(1 << 40 | part as u64);
    let every = VERSIONS / DESTROYED;
    for number in 0..DESTROYED {
        let version = number * every + part;
        let (record, material) = (record("version", version), record("material", version));
        let [known, sealed] = [store.get(&record).await, store.get(&material).await]
            .map(|found| found.expect("an answer").expect("a record").revision);
        let batch = Batch::default()
            .replace(record, known, numbers.bytes(VERSION))
            .delete(material, sealed)
            .put(format!("outbox/server/{part}/{:02}", number % 16), numbers.bytes(OUTBOX));
        store.commit(Batch { erase, ..batch }).await.expect("committed");
    }
    while erase && store.is_erasing() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How long commits took while something else went on, and how long that was.
async fn beside(store: &Arc<SqliteStore>, work: impl Future<Output = ()>) -> (Duration, Vec<Duration>) {
    let (begun, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut committers = JoinSet::new();
    for committer in 0..COMMITTERS {
        let (store, over) = (Arc::clone(store), Arc::clone(&over));
        committers.spawn(async move {
            let (mut taken, mut numbers) = (Vec::new(), Numbers(1 << 41 | committer));
            while !over.load(Ordering::Relaxed) {
                let name = format!("usage/{committer}/{:06}", numbers.next() % 10_000);
                let batch = Batch::default().put(name, numbers.bytes(600));
                let asked = Instant::now();
                store.commit(batch).await.expect("committed");
                taken.push(asked.elapsed());
            }
            taken
        });
    }
    work.await;
    over.store(true, Ordering::Relaxed);
    let taken = committers.join_all().await.concat();
    (begun.elapsed(), taken)
}

fn row(what: &str, (over, mut taken): (Duration, Vec<Duration>)) {
    taken.sort_unstable();
    let ms = |time: Option<&Duration>| time.copied().unwrap_or_default().as_secs_f64() * 1e3;
    let at = |share: usize| ms(taken.get(taken.len() * share / 100));
    println!(
        "| {what} | {:.1} s | {} | {:.2} | {:.2} | {:.1} |",
        over.as_secs_f64(),
        taken.len(),
        at(50),
        at(99),
        ms(taken.last())
    );
}

/// Numbers as no two records have them alike, like sealed bytes: xorshift64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
