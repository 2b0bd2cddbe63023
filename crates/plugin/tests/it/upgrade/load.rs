//! A writer and a reader at each API server. Writers share Secrets, each with a number of its own in every one of them, which it
//! increments: an update that overwrites what another writer has done shows in that one's number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keystead_testkit::api::{Kind, Object};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clients::{Clients, TurnedAway};
use super::cluster::{Cluster, name, value};

/// Secrets that the writers share.
const COUNTERS: usize = 10;
/// Between two calls of one client, so that clients and API servers share two cores.
const PAUSE: Duration = Duration::from_millis(50);
/// Readers go through the Secrets in steps of this prime, so that no cache has the next one.
const STRIDE: usize = 7919;

pub(crate) struct Load {
    phase: &'static str,
    started: Instant,
    stop: CancellationToken,
    writers: JoinSet<(String, Writes)>,
    readers: JoinSet<Tally>,
    turned_away: Vec<Arc<TurnedAway>>,
}

/// What all clients saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) took: Duration,
    pub(crate) reads: Tally,
    pub(crate) writes: Tally,
    /// Numbers that are not what their writer was told, and Secrets with another value.
    pub(crate) lost: Vec<String>,
    pub(crate) refused: u64,
    pub(crate) cut: u64,
    pub(crate) told_to_wait: u64,
}

/// Calls, each over all its attempts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    pub(crate) failed: Vec<String>,
    pub(crate) slowest: Duration,
    lost: Vec<String>,
}

impl Load {
    /// Makes the writers' Secrets, named after `phase`, and starts all clients.
    pub(crate) async fn start(cluster: &Cluster, phase: &'static str) -> Result<Self, String> {
        for counter in 0..COUNTERS {
            let secret =
                Object::new(Kind::Secret, "default", &counter_name(phase, counter), "made", b"by nobody");
            cluster.clients(0).create(&secret).await?;
        }
        let stop = CancellationToken::new();
        let (mut writers, mut readers, mut turned_away) = (JoinSet::new(), JoinSet::new(), Vec::new());
        for own in 0..cluster.api_servers() {
            let clients = cluster.clients(own);
            turned_away.push(Arc::clone(&clients.turned_away));
            writers.spawn(write(clients.clone(), phase, format!("writer-{own}"), stop.clone()));
            readers.spawn(read(clients, cluster.secrets, own, stop.clone()));
        }
        Ok(Self { phase, started: Instant::now(), stop, writers, readers, turned_away })
    }

    /// Ends all clients, and compares what is stored with what they were told.
    pub(crate) async fn stop(self, cluster: &Cluster) -> Result<Seen, String> {
        self.stop.cancel();
        let mut seen = Seen { took: self.started.elapsed(), ..Seen::default() };
        for tally in self.readers.join_all().await {
            seen.reads.add(tally);
        }
        for (writer, writes) in self.writers.join_all().await {
            for (counter, count) in writes.counts.iter().enumerate() {
                let name = counter_name(self.phase, counter);
                seen.lost.extend(count.compare(&cluster.clients(0).get(&name).await?, &writer));
            }
            seen.writes.add(writes.tally);
        }
        seen.lost.append(&mut seen.reads.lost);
        seen.lost.append(&mut seen.writes.lost);
        let sum = |count: fn(&TurnedAway) -> &AtomicU64| {
            self.turned_away.iter().map(|it| count(it).load(Ordering::Relaxed)).sum()
        };
        (seen.refused, seen.cut, seen.told_to_wait) =
            (sum(|it| &it.refused), sum(|it| &it.cut), sum(|it| &it.told_to_wait));
        Ok(seen)
    }
}

impl Tally {
    fn record(&mut self, began: Instant, outcome: Result<(), Failure>) {
        self.slowest = self.slowest.max(began.elapsed());
        match outcome {
            Ok(()) => self.done += 1,
            Err(Failure::Call(reason)) => self.failed.push(reason),
            Err(Failure::Lost(what)) => self.lost.push(what),
        }
    }

    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.slowest = self.slowest.max(other.slowest);
        self.failed.extend(other.failed);
        self.lost.extend(other.lost);
    }
}

enum Failure {
    Call(String),
    Lost(String),
}

#[derive(Default)]
struct Writes {
    tally: Tally,
    counts: [Count; COUNTERS],
}

/// What a writer knows of its number in one Secret.
#[derive(Clone, Copy, Default)]
struct Count {
    answered: u64,
    /// Whether one more may be stored: no answer came to an update.
    unsure: bool,
}

impl Count {
    /// Why the Secret is not as this writer left it.
    fn compare(self, secret: &Object, writer: &str) -> Option<String> {
        let (stored, name) = (number(secret, writer), &secret.metadata.name);
        let expected = stored == Some(self.answered) || self.unsure && stored == Some(self.answered + 1);
        (!expected).then(|| format!("{name} has {stored:?} of {writer}, which was told {}", self.answered))
    }
}

async fn write(
    clients: Clients,
    phase: &'static str,
    writer: String,
    stop: CancellationToken,
) -> (String, Writes) {
    let mut writes = Writes::default();
    for turn in (0..COUNTERS).cycle() {
        let Some(count) = writes.counts.get_mut(turn).filter(|_| !stop.is_cancelled()) else { break };
        let began = Instant::now();
        let outcome = increment(&clients, &counter_name(phase, turn), &writer, count).await;
        writes.tally.record(began, outcome);
        tokio::time::sleep(PAUSE).await;
    }
    (writer, writes)
}

async fn increment(clients: &Clients, name: &str, writer: &str, count: &mut Count) -> Result<(), Failure> {
    let mut attempts = clients.attempts();
    loop {
        let mut secret = match attempts.server().get(Kind::Secret, "default", name).await {
            Ok(secret) => secret,
            Err(error) => {
                attempts.failed(error).await.map_err(Failure::Call)?;
                continue;
            }
        };
        let stored = number(&secret, writer);
        if let Some(difference) = count.compare(&secret, writer) {
            *count = Count { answered: stored.unwrap_or(count.answered), unsure: false };
            return Err(Failure::Lost(difference));
        }
        if stored == Some(count.answered + 1) {
            *count = Count { answered: count.answered + 1, unsure: false };
            return Ok(());
        }
        let next = (count.answered + 1).to_string();
        secret.data.insert(writer.to_owned(), next.into_bytes());
        let before = count.unsure;
        count.unsure = true;
        match attempts.server().update(&secret).await {
            Ok(_) => {
                *count = Count { answered: count.answered + 1, unsure: false };
                return Ok(());
            }
            // Another writer was quicker.
            Err(error) if error.status() == Some(409) => count.unsure = before,
            Err(error) => attempts.failed(error).await.map_err(Failure::Call)?,
        }
    }
}

async fn read(clients: Clients, secrets: usize, own: usize, stop: CancellationToken) -> Tally {
    let mut tally = Tally::default();
    let mut turn = own;
    while !stop.is_cancelled() {
        turn += STRIDE;
        let index = turn % secrets;
        let began = Instant::now();
        let outcome = match clients.get(&name(index)).await {
            Ok(secret) if secret.data.get("key") == Some(&value(index)) => Ok(()),
            Ok(_) => Err(Failure::Lost(format!("{} has another value", name(index)))),
            Err(reason) => Err(Failure::Call(reason)),
        };
        tally.record(began, outcome);
        tokio::time::sleep(PAUSE).await;
    }
    tally
}

/// A writer that has written nothing yet has 0.
fn number(secret: &Object, writer: &str) -> Option<u64> {
    match secret.data.get(writer) {
        None => Some(0),
        Some(text) => String::from_utf8_lossy(text).parse().ok(),
    }
}

fn counter_name(phase: &str, counter: usize) -> String {
    format!("counter-{phase}-{counter}")
}
