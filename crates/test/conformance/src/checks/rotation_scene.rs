//! Rotates the key several times under load and writes down what the plugin answers; `rotation.rs` judges it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::check::Stop;
use crate::hook;
use crate::options::{Kms, Options};
use crate::plugin::{Plugin, Refusal};
use crate::run::{Sample, Suite, V1Sample, seed};

/// What came of all rotations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rotation {
    /// The key id before the first rotation and after each, when it had come to rest.
    pub(super) settled: Vec<String>,
    /// For each rotation the key ids of Status in the order in which they came, without repetitions.
    pub(super) seen: Vec<Vec<String>>,
    /// How long each rotation took to show in Status; `None` when it did not within the limit.
    pub(super) waits: Vec<Option<Duration>>,
    pub(super) versions: BTreeSet<String>,
    /// Made while nothing changed: for each settled key id.
    pub(super) quiet: Vec<Vec<Sample>>,
    /// Made by the workers shortly before and after they saw a new key id.
    pub(super) busy: Vec<Sample>,
    /// How many answers of Encrypt the workers had.
    pub(super) encrypted: usize,
    /// Calls that failed while rotating.
    pub(super) refused: Vec<Refusal>,
    /// How often Status said the same before and after an Encrypt that said otherwise.
    pub(super) disagreed: usize,
    /// The last such pair, when it was still so at the end of a rotation.
    pub(super) disagrees: Option<(String, String)>,
    /// A cipher of KMS v1 from before the first rotation, and how it opened after each.
    pub(super) v1: Vec<Result<bool, Refusal>>,
}

/// Plays the scene.
pub(super) async fn play(suite: &Suite) -> Result<Rotation, Stop> {
    let Some(command) = &suite.options.hooks.rotate else {
        return Err(Stop::Skip("needs a command that rotates the key: --hook rotate=COMMAND".to_owned()));
    };
    suite.sample().await?;
    let v1 = if suite.serves(Kms::V1) { suite.v1_sample().await.ok() } else { None };
    let mut scene = Rotation::default();
    let status = suite.status().await?;
    scene.versions.insert(status.version);
    scene.settled.push(status.key_id);
    scene.quiet.push(quiet(&suite.plugin).await?);
    for _ in 0..suite.options.rotations {
        let workers = Workers::start(&suite.options).await;
        let changed = rotate(suite, command, &mut scene).await;
        workers.stop(&mut scene).await;
        if !changed? {
            break;
        }
        scene.quiet.push(quiet(&suite.plugin).await?);
        if let Some(sample) = &v1 {
            scene.v1.push(opens(&suite.plugin, sample).await);
        }
    }
    Ok(scene)
}

/// One rotation: the hook, then polling until the key id changed and came to rest. Answers whether it changed.
async fn rotate(suite: &Suite, command: &str, scene: &mut Rotation) -> Result<bool, Stop> {
    let old = scene.settled.last().cloned().unwrap_or_default();
    let mut seen = vec![old.clone()];
    let mut changed = None;
    let start = Instant::now();
    hook::run("rotate", command).await.map_err(Stop::Hook)?;
    loop {
        poll(&suite.plugin, &mut seen, scene).await;
        if changed.is_none() && seen.iter().any(|it| *it != old) {
            changed = Some(start.elapsed());
        }
        let rests = changed.is_some_and(|it| start.elapsed() > it + REST);
        if rests || (changed.is_none() && start.elapsed() > suite.options.rotate_limit) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    scene.waits.push(changed);
    scene.settled.push(seen.last().cloned().unwrap_or_default());
    scene.seen.push(seen);
    Ok(changed.is_some())
}

/// Status, Encrypt, Status.
async fn poll(plugin: &Plugin, seen: &mut Vec<String>, scene: &mut Rotation) {
    let mut ids = Vec::new();
    for _ in 0..2 {
        match plugin.status().await {
            Ok(status) => {
                scene.versions.insert(status.version);
                if seen.last() != Some(&status.key_id) {
                    seen.push(status.key_id.clone());
                }
                ids.push(status.key_id);
            }
            Err(refusal) => return scene.refused.push(refusal),
        }
        if ids.len() > 1 {
            break;
        }
        let Ok(seed) = seed() else { return };
        match Sample::new(plugin, seed).await {
            Ok(sample) => ids.push(sample.sealed.key_id),
            Err(refusal) => return scene.refused.push(refusal),
        }
    }
    if let [before, sealed, after] = ids.as_slice() {
        let agree = before != after || sealed == before;
        scene.disagreed += usize::from(!agree);
        scene.disagrees = (!agree).then(|| (before.clone(), sealed.clone()));
    }
}

/// Enough answers to learn what all ciphertexts of one key begin with.
async fn quiet(plugin: &Plugin) -> Result<Vec<Sample>, Stop> {
    let mut samples = Vec::new();
    for _ in 0..QUIET {
        samples.push(Sample::new(plugin, seed()?).await?);
    }
    Ok(samples)
}

async fn opens(plugin: &Plugin, sample: &V1Sample) -> Result<bool, Refusal> {
    plugin.v1_decrypt(sample.cipher.clone()).await.map(|plain| plain == sample.seed)
}

/// Eight callers of Encrypt, each on a connection of its own, that go on until they are told to stop.
struct Workers {
    stop: Arc<AtomicBool>,
    running: JoinSet<Work>,
}

/// What one worker kept.
#[derive(Default)]
struct Work {
    kept: Vec<Sample>,
    /// The last answers under the present label, not kept yet.
    recent: VecDeque<Sample>,
    /// How many more to keep, because the label has just changed.
    after: usize,
    encrypted: usize,
    refused: Vec<Refusal>,
}

impl Workers {
    /// Starts them and waits until all are at work, so that the rotation comes in the midst of it.
    async fn start(options: &Options) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        for _ in 0..WORKERS {
            let plugin = Plugin::new(&options.socket, options.timeout);
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            running.spawn(async move {
                let mut work = Work::default();
                work.step(&plugin).await;
                done.fetch_add(1, Ordering::Relaxed);
                while !stop.load(Ordering::Relaxed) {
                    work.step(&plugin).await;
                }
                work
            });
        }
        // Each step ends with the deadline of its call at the latest.
        while done.load(Ordering::Relaxed) < WORKERS {
            tokio::time::sleep(PAUSE / 10).await;
        }
        Self { stop, running }
    }

    async fn stop(self, scene: &mut Rotation) {
        self.stop.store(true, Ordering::Relaxed);
        for work in self.running.join_all().await {
            scene.busy.extend(work.kept);
            scene.busy.extend(work.recent);
            scene.encrypted += work.encrypted;
            scene.refused.extend(work.refused);
        }
    }
}

impl Work {
    async fn step(&mut self, plugin: &Plugin) {
        let Ok(seed) = seed() else { return };
        match Sample::new(plugin, seed).await {
            Ok(sample) => self.keep(sample),
            Err(refusal) => {
                if self.refused.len() < NEAR {
                    self.refused.push(refusal);
                }
                // A plugin that refuses at once must not be asked in a tight loop.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Keeps what came close to a change of the label: that is where labels are wrong.
    fn keep(&mut self, sample: Sample) {
        self.encrypted += 1;
        if self.recent.back().is_some_and(|it| it.sealed.key_id != sample.sealed.key_id) {
            self.kept.extend(self.recent.drain(..));
            self.after = NEAR;
        }
        if self.after > 0 {
            self.after -= 1;
            self.kept.push(sample.clone());
            self.recent.clear();
        } else if self.recent.len() == NEAR {
            self.recent.pop_front();
        }
        self.recent.push_back(sample);
    }
}

const WORKERS: usize = 8;
/// Answers that a worker keeps on each side of a change: some milliseconds of work, in which a race shows.
const NEAR: usize = 30;
/// Two random bytes agree in 16 answers once in 2^120 runs, so that what agrees is no chance.
const QUIET: usize = 16;
/// How long Status must stay the same after its first change.
const REST: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);
