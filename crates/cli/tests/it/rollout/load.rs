//! Clients that read and write Secrets all the time, each through whatever API server serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keystead_testkit::api::{Client, Error, Kind, Object};
use tokio::task::JoinSet;

/// Counters in Secrets, and who increments and reads them.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    workers: JoinSet<Vec<u64>>,
    failures: Arc<std::sync::Mutex<Vec<String>>>,
    counters: usize,
}

/// What it did.
pub(crate) struct Done {
    /// Of each worker.
    counters: usize,
    /// That were answered.
    pub(crate) increments: u64,
    failures: Vec<String>,
}

/// Each worker has its own counters, so that a lost update shows.
const WORKERS: usize = 2;

impl Load {
    pub(crate) async fn start(clients: &[Client], counters: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let failures = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            for index in 0..counters {
                let counter = Object::new(Kind::Secret, "default", &name(worker, index), "n", b"0");
                clients[0].create(&counter).await.expect("a counter");
            }
            let clients = clients.to_vec();
            let (stop, failures) = (Arc::clone(&stop), Arc::clone(&failures));
            workers.spawn(async move {
                let mut counts = vec![0_u64; counters];
                let mut turn = worker;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    let index = turn % counters;
                    match increment(&clients, turn, &name(worker, index), counts[index]).await {
                        Ok(()) => counts[index] += 1,
                        Err(failure) => failures.lock().expect("nobody panics with it").push(failure),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                counts
            });
        }
        Self { stop, workers, failures, counters }
    }

    pub(crate) async fn stop(mut self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        let mut increments = 0;
        while let Some(counts) = self.workers.join_next().await {
            increments += counts.expect("a worker ends").iter().sum::<u64>();
        }
        let failures = self.failures.lock().expect("nobody panics with it").clone();
        Done { counters: self.counters, increments, failures }
    }
}

impl Done {
    pub(crate) async fn assert_nothing_lost(self, clients: &[Client]) {
        assert!(
            self.failures.is_empty(),
            "{} failures, such as {:?}",
            self.failures.len(),
            &self.failures[..self.failures.len().min(5)]
        );
        assert!(self.increments > 100, "only {} increments were answered", self.increments);
        let mut found = 0;
        for worker in 0..WORKERS {
            for index in 0..self.counters {
                let secret = clients[0].get(Kind::Secret, "default", &name(worker, index)).await;
                found += number(&secret.expect("a counter"));
            }
        }
        assert_eq!(found, self.increments, "increments that were answered, and increments that are stored");
    }
}

/// Reads and increments through the first API server that can be reached, from the one whose turn it is. One that cannot be reached is
/// starting; whatever is answered must be a success.
async fn increment(clients: &[Client], turn: usize, name: &str, expected: u64) -> Result<(), String> {
    let mut last = String::new();
    for attempt in 0..600 {
        let client = &clients[(turn + attempt) % clients.len()];
        let outcome = async {
            let mut secret = client.get(Kind::Secret, "default", name).await?;
            let stored = number(&secret);
            // An answer that was lost on the way may have been written.
            if stored == expected + 1 {
                return Ok(stored);
            }
            secret.data.insert("n".to_owned(), (stored + 1).to_string().into_bytes());
            client.update(&secret).await?;
            Ok(stored + 1)
        }
        .await;
        match outcome {
            Ok(count) if count == expected + 1 => return Ok(()),
            Ok(count) => return Err(format!("{name} has {count} and not {}", expected + 1)),
            Err(error) if is_away(&error) => {
                last = error.to_string();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // Re-encryption wrote in between.
            Err(error) if error.status() == Some(409) => {}
            Err(error) => return Err(format!("{name} through {}: {error}", client.url())),
        }
    }
    Err(format!("no API server can be reached: {last}"))
}

/// Nobody listens, or a process that starts or ends says so.
fn is_away(error: &Error) -> bool {
    match error.status() {
        None => true,
        Some(status) => matches!(status, 429 | 503),
    }
}

fn number(secret: &Object) -> u64 {
    let text = secret.data.get("n").expect("a counter");
    String::from_utf8_lossy(text).parse().expect("a number")
}

fn name(worker: usize, index: usize) -> String {
    format!("counter-{worker}-{index}")
}
