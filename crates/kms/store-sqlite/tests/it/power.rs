//! The power goes out at any moment: what was synced is on the disk, and of the rest any part, in any order, down to
//! single sectors. `kill -9` shows nothing of this, because the kernel goes on to write what a dead process left.
//!
//! A worker runs once, with every write and sync written down. Then disks are made as they could have been found after a
//! cut, and a store is opened on each.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keystead_store::{Revision, Store};
use keystead_store_sqlite::SqliteStore;

use crate::crash::{SAYS_TO, TASKS, Told, WORKER, check, number};
use crate::faults::{UNDER, preloaded};
use crate::testbed::{Numbers, Testbed, make_folder, put};

/// Each takes about 20 milliseconds.
fn states() -> usize {
    std::env::var("KEYSTEAD_CRASH_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

/// Commits that are confirmed before the worker is stopped.
const COMMITS: usize = 400;

/// What a disk writes whole.
const SECTOR: usize = 512;

enum Step {
    Write { path: PathBuf, at: usize, bytes: Vec<u8> },
    Truncate { path: PathBuf, len: usize },
    Remove { path: PathBuf },
    Sync { path: PathBuf },
    Told(Told),
}

/// A file as the disk has it, and what the kernel has not written yet.
#[derive(Clone, Default)]
struct File {
    synced: Vec<u8>,
    waiting: Vec<Waiting>,
}

#[derive(Clone)]
enum Waiting {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Waiting {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                file.resize(file.len().max(at + bytes.len()), 0);
                file[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Truncate(len) => file.resize(*len, 0),
        }
    }

    /// Some sectors of a write.
    fn tear(&self, numbers: &mut Numbers) -> Vec<Self> {
        let Self::Write { at, bytes } = self else { return vec![self.clone()] };
        let sectors = bytes.chunks(SECTOR).enumerate().filter(|_| numbers.below(2) == 0);
        sectors
            .map(|(sector, bytes)| Self::Write { at: at + sector * SECTOR, bytes: bytes.to_vec() })
            .collect()
    }
}

impl File {
    fn sync(&mut self) {
        for waiting in self.waiting.drain(..) {
            waiting.apply(&mut self.synced);
        }
    }

    /// What could be found after a cut.
    fn found(&self, numbers: &mut Numbers) -> Vec<u8> {
        let mut found = self.synced.clone();
        let how = numbers.below(4);
        let torn = numbers.below(self.waiting.len().max(1));
        for (place, waiting) in self.waiting.iter().enumerate() {
            let kept = match how {
                0 => vec![],
                1 => vec![waiting.clone()],
                // In order, and cut in the middle of one.
                2 if place < torn => vec![waiting.clone()],
                2 if place == torn => waiting.tear(numbers),
                2 => vec![],
                // In no order.
                _ if numbers.below(2) == 0 => waiting.tear(numbers),
                _ if numbers.below(2) == 0 => vec![waiting.clone()],
                _ => vec![],
            };
            kept.iter().for_each(|kept| kept.apply(&mut found));
        }
        found
    }
}

/// Lets the worker work, and answers what it did to its files. The database is `data/keystead.db` under the folder.
fn trace(folder: &Path) -> Vec<Step> {
    let (under, trace) = (folder.join("under"), folder.join("trace"));
    std::fs::create_dir(&under).unwrap();
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::worker", "--nocapture"])
        .env("LD_PRELOAD", preloaded(folder))
        .env("KEYSTEAD_TRACE", &trace)
        .env(UNDER, &under)
        .env(WORKER, under.join("data/keystead.db"))
        .env(SAYS_TO, under.join("told"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    assert_eq!(lines.map(Result::unwrap).skip_while(|line| line != "ready").take(COMMITS).count(), COMMITS);
    worker.kill().unwrap();
    worker.wait().unwrap();
    parse(&std::fs::read(trace).unwrap(), &under)
}

fn parse(mut trace: &[u8], under: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    // The last line may be half.
    while let Some(end) = trace.iter().position(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(&trace[..end]).unwrap();
        let mut words = line.splitn(4, ' ');
        let what = words.next().unwrap();
        let at: usize = words.next().unwrap().parse().unwrap();
        let len: usize = words.next().unwrap().parse().unwrap();
        let path = Path::new(words.next().unwrap()).strip_prefix(under).unwrap().to_owned();
        trace = &trace[end + 1..];
        if trace.len() < len {
            break;
        }
        let bytes = trace[..len].to_vec();
        trace = &trace[len..];
        steps.push(match what {
            "W" if path == Path::new("told") => {
                Step::Told(Told::parse(std::str::from_utf8(&bytes).unwrap().trim()))
            }
            "W" => Step::Write { path, at, bytes },
            "T" => Step::Truncate { path, len: at },
            "D" => Step::Remove { path },
            "S" => Step::Sync { path },
            what => panic!("the trace says {what}"),
        });
    }
    steps
}

/// A disk that could be found, and what the worker knew by then.
struct State {
    testbed: Testbed,
    told: [u64; TASKS],
    newest: Revision,
}

/// Makes disks, and has each looked at. Half of the cuts come right after the worker was told something.
async fn cuts(steps: &[Step], syncs_work: bool, count: usize, mut look: impl AsyncFnMut(usize, State)) {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let answers: Vec<usize> = (0..steps.len()).filter(|step| matches!(steps[*step], Step::Told(_))).collect();
    let mut moments: Vec<usize> =
        (0..count)
            .map(|cut| {
                if cut % 2 == 0 { answers[numbers.below(answers.len())] } else { numbers.below(steps.len()) }
            })
            .collect();
    moments.sort_unstable();
    let (mut files, mut told, mut newest) = (BTreeMap::<PathBuf, File>::new(), [0; TASKS], Revision(0));
    let mut moments = moments.into_iter().peekable();
    for (place, step) in steps.iter().enumerate() {
        match step {
            Step::Write { path, at, bytes } => {
                let write = Waiting::Write { at: *at, bytes: bytes.clone() };
                files.entry(path.clone()).or_default().waiting.push(write);
            }
            Step::Truncate { path, len } => {
                files.entry(path.clone()).or_default().waiting.push(Waiting::Truncate(*len));
            }
            Step::Remove { path } => drop(files.remove(path)),
            Step::Sync { path } if syncs_work => {
                if let Some(file) = files.get_mut(path) {
                    file.sync();
                }
            }
            Step::Sync { .. } => {}
            Step::Told(Told { task, count, revision }) => {
                told[*task] = *count;
                newest = newest.max(Revision(*revision));
            }
        }
        while moments.next_if_eq(&place).is_some() {
            let testbed = Testbed::new();
            make_folder(&testbed.data());
            for (path, file) in &files {
                let path = testbed.beside(path.to_str().unwrap());
                std::fs::write(&path, file.found(&mut numbers)).unwrap();
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            }
            look(place, State { testbed, told, newest }).await;
        }
    }
}

#[tokio::test]
async fn p8_confirmed_commits_survive_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let steps = trace(folder.path());
    let (mut looked, mut beyond) = (0, 0);
    cuts(&steps, true, states(), async |place, State { testbed, told, newest }| {
        let store = testbed.open();
        let counter = store.commit_counter();
        assert!(counter >= newest, "step {place}: commit {newest:?} was confirmed, and {counter:?} is there");
        for (task, told) in told.into_iter().enumerate() {
            let found = check(&store, task).await;
            assert!(found >= told, "step {place}: task {task} was told {told}, and {found} are there");
            beyond += found - told;
        }
        assert_eq!(put(&store, "on", b"it goes").await, Revision(counter.0 + 1));
        looked += 1;
    })
    .await;
    assert_eq!(looked, states());
    println!("{looked} disks of {} steps, {beyond} commits found that nobody was told of", steps.len());

    // The control: the same on a disk whose syncs do nothing.
    let mut lost = 0;
    cuts(&steps, false, 40, async |_, State { testbed, told, .. }| {
        let Ok(store) = SqliteStore::open(&testbed.path(), testbed.settings.clone()) else {
            lost += 1;
            return;
        };
        for (task, told) in told.into_iter().enumerate() {
            let found =
                store.get(&format!("counter/{task}")).await.unwrap().map_or(0, |entry| number(&entry));
            lost += u32::from(found < told);
        }
    })
    .await;
    assert!(lost > 10, "the control: without syncs, confirmed commits are lost ({lost})");
}
