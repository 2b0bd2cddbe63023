//! Killed with signal 9 at any moment: every commit that was confirmed is there, and no half of one that was not.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystead_store::{Batch, Entry, Revision, Store};
use keystead_store_sqlite::{SqliteSettings, SqliteStore};
use tokio::task::JoinSet;

use crate::testbed::{Numbers, Testbed};

/// Set in the process that is to be killed, to the path of its database.
pub(crate) const WORKER: &str = "KEYSTEAD_TEST_STORE_WORKER";

/// Set to a file that also gets what the worker says.
pub(crate) const SAYS_TO: &str = "KEYSTEAD_TEST_STORE_WORKER_SAYS_TO";

pub(crate) const TASKS: usize = 8;

/// Each takes about a sixth of a second.
fn kills() -> u64 {
    std::env::var("KEYSTEAD_STORE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(50)
}

#[tokio::test]
async fn p8_confirmed_commits_survive_kill_9() {
    let testbed = Testbed::new();
    let mut confirmed = [0; TASKS];
    let (mut newest, mut slowest, mut in_flight) = (0, Duration::ZERO, 0);
    for kill in 0..kills() {
        let lines =
            work_until_killed(&testbed.path(), Duration::from_micros(Numbers(kill + 1).next() % 80_000));
        for line in lines {
            let told = Told::parse(&line);
            confirmed[told.task] = told.count;
            newest = newest.max(told.revision);
        }
        let begun = Instant::now();
        let store = testbed.open();
        slowest = slowest.max(begun.elapsed());
        assert!(store.commit_counter() >= Revision(newest), "kill {kill}: confirmed commits are lost");
        for (task, confirmed) in confirmed.iter_mut().enumerate() {
            let found = check(&store, task).await;
            assert!(
                found >= *confirmed,
                "kill {kill}: task {task} was told {confirmed}, and {found} are there"
            );
            assert!(found <= *confirmed + 1, "kill {kill}: task {task} had one commit under way, not more");
            in_flight += found - *confirmed;
            *confirmed = found;
        }
    }
    println!(
        "{} kills, {newest} commits, {in_flight} written and not yet told, slowest start {slowest:?}",
        kills()
    );
    assert!(newest > kills() * 5, "the control: there was work to lose ({newest})");
}

/// A commit that the worker was told of.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) task: usize,
    pub(crate) count: u64,
    pub(crate) revision: u64,
}

impl Told {
    pub(crate) fn parse(line: &str) -> Self {
        let words: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let [task, count, revision] = words[..] else { panic!("the worker says {line:?}") };
        Self { task: usize::try_from(task).unwrap(), count, revision }
    }
}

/// How far a task came. Its counter, its log and its erased material belong together.
pub(crate) async fn check(store: &SqliteStore, task: usize) -> u64 {
    let Some(counter) = store.get(&format!("counter/{task}")).await.unwrap() else { return 0 };
    let count = number(&counter);
    let log = store.list(&format!("log/{task}/"), "", usize::MAX).await.unwrap();
    let numbers: Vec<u64> = log.iter().map(number).collect();
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "the log of task {task}");
    assert_eq!(log.last().map(|entry| entry.revision), Some(counter.revision), "one batch, one revision");
    let material = store.list(&format!("material/{task}/"), "", 10).await.unwrap();
    let numbers: Vec<u64> = material.iter().map(number).collect();
    assert_eq!(numbers, [count], "the batch that made new material deleted the old");
    count
}

pub(crate) fn number(entry: &Entry) -> u64 {
    u64::from_be_bytes(entry.value[..8].try_into().unwrap())
}

/// Lines that the worker said before it died.
fn work_until_killed(path: &Path, after: Duration) -> Vec<String> {
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::worker", "--nocapture"])
        .env(WORKER, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(worker.stdout.take().unwrap());
    let mut line = String::new();
    while line != "ready\n" {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the worker ended early");
    }
    // Not a wait for something: the moment is the point.
    std::thread::sleep(after);
    worker.kill().unwrap();
    worker.wait().unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    // The last line may be half.
    rest.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// Commits until it is killed, and says what was confirmed; does nothing in an ordinary run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Some(path) = std::env::var_os(WORKER) else { return };
    let store = Arc::new(SqliteStore::open(Path::new(&path), SqliteSettings::default()).unwrap());
    let says_to = std::env::var_os(SAYS_TO)
        .map(|path| Arc::new(std::fs::File::options().append(true).create(true).open(path).unwrap()));
    println!("\nready");
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, says_to) = (store.clone(), says_to.clone());
        tasks.spawn(async move {
            let mut count = check(&store, task).await;
            loop {
                count += 1;
                let mut value = count.to_be_bytes().to_vec();
                let batch = Batch::default()
                    .put(format!("counter/{task}"), value.clone())
                    .create(format!("log/{task}/{count:010}"), value.clone());
                value.extend(Numbers(count + 1).bytes(100));
                let mut batch = batch.create(format!("material/{task}/{count}"), value);
                if let Some(old) = store.get(&format!("material/{task}/{}", count - 1)).await.unwrap() {
                    batch = batch.delete(old.name, old.revision);
                    // Some erase, so that some are killed while they do.
                    batch.erase = count % 16 == task as u64;
                }
                let revision = store.commit(batch).await.unwrap();
                let line = format!("{task} {count} {}\n", revision.0);
                if let Some(mut file) = says_to.as_deref() {
                    file.write_all(line.as_bytes()).unwrap();
                }
                // One write, so that a line is whole or absent unless the pipe is full.
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    tasks.join_all().await;
}
