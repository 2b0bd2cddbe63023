//! What a host does for one operation of its cluster, on a thread of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keystead_crypto::sha256;
use keystead_model::cluster_host::{HostGoal, Instruction, Work, WorkState};
use keystead_model::{ClusterOperationId, CryptoKeyName};
use keystead_runtime::Failure;
use tokio_util::sync::CancellationToken;

use super::approval::Asked;
use super::configuration::Configuration;
use super::credentials;
use super::identity::Joined;
use crate::cluster::AgentGoal;
use crate::output::{say, visible};

/// Another host may have been killed before it noticed that all is done: this one does its part again until the server knows of all. So long
/// is waited as well before what came to no end is begun again.
const AGAIN: Duration = Duration::from_secs(10);
/// Longest sentence that is reported, in characters.
const MAX_DETAIL: usize = 500;

/// Something that is being done, or is done.
pub(super) struct RunningWork {
    instruction: Instruction,
    told: Arc<Mutex<(WorkState, String)>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    ended: Option<Instant>,
}

impl RunningWork {
    /// Begins, or says why not.
    pub(super) fn start(instruction: Instruction, configuration: &Configuration, joined: &Joined) -> Self {
        let mut work = Self {
            instruction,
            told: Arc::new(Mutex::new((WorkState::Working, "begins".to_owned()))),
            stop: CancellationToken::new(),
            thread: None,
            ended: None,
        };
        work.run(configuration, joined);
        work
    }

    fn run(&mut self, configuration: &Configuration, joined: &Joined) {
        let goal = &self.instruction.goal;
        let key = match goal {
            HostGoal::Encrypt(key) | HostGoal::Reencrypt(key) => Some(key),
            HostGoal::Decrypt => None,
        };
        if let Some(refusal) = configuration.refusal(key) {
            return tell(&self.told, WorkState::Failed, refusal);
        }
        let operation = &self.instruction.operation;
        let in_words = in_words(goal);
        let asked = Asked { operation, goal: &in_words };
        if configuration.require_approval && !asked.is_approved(&configuration.state) {
            let command = format!("waits for somebody to run there: keystead agent approve {operation}");
            return tell(&self.told, WorkState::Waiting, format!("{in_words}: {command}"));
        }
        let (goal, configuration, joined) = (goal.clone(), configuration.clone(), joined.clone());
        self.stop = CancellationToken::new();
        let (told, stop) = (Arc::clone(&self.told), self.stop.clone());
        let was_done = state_of(&self.told) == WorkState::Done;
        if state_of(&self.told) == WorkState::Waiting {
            tell(&told, WorkState::Working, "begins".to_owned());
        }
        let thread = std::thread::Builder::new().name("rollout".to_owned()).spawn(move || {
            // A rollout stops itself, too: where an API server was away for so long that a Lease ran out.
            let rollout = stop.child_token();
            match carry_out(&goal, &configuration, &joined, &told, &rollout, was_done) {
                Ok(()) => tell(&told, WorkState::Done, String::new()),
                // It was told to stop, and so nobody asks how it went.
                Err(_) if stop.is_cancelled() => {}
                // The next one sees how far things are.
                Err(failure) if rollout.is_cancelled() => {
                    failure.to_string().lines().for_each(|line| say(&visible(line)));
                    tell(&told, WorkState::Working, format!("begins again: {}", one_line(&failure)));
                }
                Err(failure) => {
                    failure.to_string().lines().for_each(|line| say(&visible(line)));
                    tell(&told, WorkState::Failed, one_line(&failure));
                }
            }
        });
        match thread {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => tell(&self.told, WorkState::Failed, format!("no thread can be started: {error}")),
        }
    }

    /// Whether it is for this.
    pub(super) fn is_for(&self, instruction: &Instruction) -> bool {
        self.instruction == *instruction
    }

    /// Whether anything is being done.
    pub(super) fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Goes on, where it waited for somebody, or where others may need this host's part once more.
    pub(super) fn go_on(&mut self, configuration: &Configuration, joined: &Joined) {
        if self.is_running() {
            return;
        }
        if let Some(thread) = self.thread.take() {
            self.ended = Some(Instant::now());
            // One that panicked has said why.
            if thread.join().is_err() {
                tell(&self.told, WorkState::Failed, "the agent has a fault: see its log".to_owned());
            }
        }
        match state_of(&self.told) {
            WorkState::Waiting => self.run(configuration, joined),
            WorkState::Working | WorkState::Done if self.ended.is_some_and(|at| at.elapsed() >= AGAIN) => {
                self.run(configuration, joined)
            }
            _ => {}
        }
    }

    /// Asks it to end at the next place where that is safe.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has ended.
    pub(super) fn join(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            drop(thread.join());
        }
    }

    /// What the server is told of it.
    pub(super) fn report(&self) -> Work {
        let (state, detail) = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let operation: ClusterOperationId = self.instruction.operation.clone();
        Work { operation, state, detail }
    }

    /// The same for a person on the host.
    pub(super) fn in_words(&self) -> String {
        let Work { operation, state, detail } = self.report();
        let state = match state {
            WorkState::Waiting => "waits",
            WorkState::Working => "under way",
            WorkState::Done => "done",
            WorkState::Failed => "failed",
        };
        let goal = in_words(&self.instruction.goal);
        let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
        format!("{operation}, {goal}, {state}{detail}")
    }
}

fn in_words(goal: &HostGoal) -> String {
    match goal {
        HostGoal::Encrypt(key) => format!("everything under {key}"),
        HostGoal::Reencrypt(key) => format!("everything under the newest version of {key}"),
        HostGoal::Decrypt => "everything plain".to_owned(),
    }
}

fn tell(told: &Mutex<(WorkState, String)>, state: WorkState, detail: String) {
    let detail = visible(&detail).chars().take(MAX_DETAIL).collect();
    *told.lock().unwrap_or_else(PoisonError::into_inner) = (state, detail);
}

fn state_of(told: &Mutex<(WorkState, String)>) -> WorkState {
    told.lock().unwrap_or_else(PoisonError::into_inner).0
}

fn one_line(failure: &Failure) -> String {
    let text = failure.to_string();
    let lines = text.lines().map(|it| it.trim_start_matches("error: ").trim());
    lines.collect::<Vec<_>>().join("; ")
}

fn carry_out(
    goal: &HostGoal,
    configuration: &Configuration,
    joined: &Joined,
    told: &Mutex<(WorkState, String)>,
    stop: &CancellationToken,
    was_done: bool,
) -> Result<(), Failure> {
    let host = configuration.host()?;
    let mut now = |step: String| {
        if !was_done {
            tell(told, WorkState::Working, step);
        }
    };
    let mut goals = Vec::new();
    if let HostGoal::Encrypt(key) | HostGoal::Reencrypt(key) = goal {
        let instance = instance_of(key);
        now(format!("installs the plugin {instance} for {key}"));
        let endpoint = credentials::install_plugin(key, &instance, configuration, joined, stop)?;
        // First for a new version, too: a host may have come since.
        goals.push(AgentGoal::Encrypt { provider: instance, endpoint });
    }
    match goal {
        HostGoal::Encrypt(_) => {}
        HostGoal::Reencrypt(_) => goals.push(AgentGoal::Reencrypt),
        HostGoal::Decrypt => goals.push(AgentGoal::Decrypt),
    }
    now("does its part, until it is its turn to drive or all is done".to_owned());
    let runtime = crate::runtime()?;
    let ended = runtime.block_on(async {
        for goal in goals {
            host.clone().go(goal, stop, &mut now).await?;
        }
        Ok(())
    });
    runtime.shutdown_background();
    ended
}

/// The name of a key's plugin on every host, and of its entry in the EncryptionConfiguration, which stands in each stored value and can never
/// be changed: the same for a key, whenever it is used.
fn instance_of(key: &CryptoKeyName) -> String {
    let digest = sha256(key.to_string().as_bytes());
    format!("keystead-{}", hex::encode(digest.first_chunk::<5>().unwrap_or(&[0; 5])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_plugin_whenever_it_is_used() {
        let key = |id: &str| -> CryptoKeyName {
            format!("projects/key-project/locations/us/keyRings/r/cryptoKeys/{id}").parse().expect("a key")
        };
        let one = instance_of(&key("a"));
        assert_eq!(one, instance_of(&key("a")));
        assert_ne!(one, instance_of(&key("b")));
        assert_eq!(one.len(), "keystead-".len() + 10);
    }
}
