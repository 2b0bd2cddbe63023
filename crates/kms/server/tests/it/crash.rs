//! SIGKILL under mixed load: what was acknowledged is there, and recorded once. `load.rs` has the clients, `known.rs` what
//! they were told, `checks.rs` what must be true afterwards.

mod checks;
mod clusters;
mod known;
mod load;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::server_process::{BINARY, Place};
use checks::Audit;
use known::Known;
use load::Client;

const RING: &str = "/v1/projects/crash-project/locations/us-central1/keyRings/ring-1";
/// One client owns each: it alone changes states, primary and policy. All use all of them and make versions.
const KEYS: usize = 4;
/// After so many a new server on empty files takes over, so that checking everything does not take ever longer.
const RUNS_OF_A_SERVER: usize = 25;
/// A call takes a few milliseconds, so this cuts into calls of every kind.
const LONGEST_LIFE: u64 = 400_000;

/// xorshift64: the same numbers for the same seed.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("an index")
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_what_was_acknowledged_survives_kill_9() {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let runs = variable("KEYSTEAD_CRASH_RUNS").unwrap_or(if in_ci { 200 } else { 20 });
    let runs = usize::try_from(runs).expect("a number of runs");
    let seed = variable("KEYSTEAD_CRASH_SEED")
        .unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().unsigned_abs());
    println!("crash: {runs} runs, KEYSTEAD_CRASH_SEED={seed}");
    let mut figures = Figures::default();
    for first in (0..runs).step_by(RUNS_OF_A_SERVER) {
        let until = runs.min(first + RUNS_OF_A_SERVER);
        one_server(first..until, seed, &mut figures).await;
    }
    figures.print();
    assert!(figures.acknowledged > 0, "the load did nothing");
}

async fn one_server(runs: std::ops::Range<usize>, seed: u64, figures: &mut Figures) {
    let place = Place::new();
    let mut server =
        KmsServer::start(std::path::Path::new(BINARY), &place.path("data")).await.expect("started");
    prepare(&server).await;
    let known = Arc::new(Known::new(KEYS));
    let mut audit = Audit::new(server.data_dir().join("audit"));
    checks::state(&Client::new(&server, &known), &mut Numbers::new(seed)).await;
    for run in runs {
        let mut numbers = Numbers::new(seed.wrapping_add(run as u64));
        let life = Duration::from_micros(numbers.below(LONGEST_LIFE));
        let killed = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for own in 0..KEYS {
            let numbers = Numbers::new(numbers.below(u64::MAX));
            clients.spawn(load::run(Client::new(&server, &known), own, numbers, Arc::clone(&killed)));
        }
        tokio::time::sleep(life).await;
        killed.store(true, Ordering::SeqCst);
        let dead = Instant::now();
        server.kill_and_restart().await.unwrap_or_else(|error| panic!("run {run}, seed {seed}: {error:#}"));
        let client = Client::new(&server, &known);
        client.first_good_answer().await;
        figures.first_answers.push(dead.elapsed());
        // A panic of a client is one of the test.
        clients.join_all().await;
        figures.unanswered += known.unanswered();
        checks::state(&client, &mut numbers).await;
        figures.acknowledged += audit.check(&known.take_acknowledged());
    }
    checks::every_ciphertext(&Client::new(&server, &known)).await;
    figures.ciphertexts += known.ciphertexts();
    assert_eq!(server.stop().await.expect("ended"), 0);
    audit.check(&known.take_acknowledged());
}

async fn prepare(server: &KmsServer) {
    server.create_project("crash-project").await.expect("a project");
    let (location, _) = RING.split_once("/keyRings").expect("a ring");
    let post = async |path: String, body| server.ok(Method::POST, &path, Some(&body)).await.expect(&path);
    post(format!("{location}/keyRings?keyRingId=ring-1"), json!({})).await;
    let quiet = KEYS;
    for key in 0..=quiet {
        let body = json!({ "purpose": "ENCRYPT_DECRYPT" });
        post(format!("{RING}/cryptoKeys?cryptoKeyId=key-{key}"), body).await;
    }
}

#[derive(Default)]
struct Figures {
    /// From the kill to the first answer, the start of the process included.
    first_answers: Vec<Duration>,
    acknowledged: usize,
    unanswered: usize,
    ciphertexts: usize,
}

impl Figures {
    /// Figures are for a person: a busy machine is no failure.
    fn print(&mut self) {
        self.first_answers.sort();
        let at = |percent: usize| {
            let place = (self.first_answers.len() * percent / 100).min(self.first_answers.len() - 1);
            self.first_answers[place]
        };
        println!(
            "crash: {} kills, {} calls acknowledged, {} cut off, {} ciphertexts opened; from the kill to the first good \
             answer: median {:?}, p99 {:?}, longest {:?}",
            self.first_answers.len(),
            self.acknowledged,
            self.unanswered,
            self.ciphertexts,
            at(50),
            at(99),
            at(100),
        );
    }
}
