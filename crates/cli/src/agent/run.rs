//! The agent's loop: say what is here, hear where to go, go there.

use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use keystead_model::cluster_host::{HostGoal, Instruction, Work, WorkState};
use keystead_model::{ClusterOperationId, CryptoKeyName};
use keystead_runtime::{Failure, termination};
use serde_json::{Value, json};

use super::configuration::Configuration;
use super::credentials;
use super::facts::Facts;
use super::identity::{Identity, Joined};
use super::status::Status;
use super::work::RunningWork;
use crate::cluster::{HostFacts, HostRollout};
use crate::connection::Connection;
use crate::output::{say, visible};

/// When the server is asked again that does not answer, at first; each time it is twice as long.
const RETRY: Duration = Duration::from_secs(1);
/// The longest of these. A server that comes back hears of all its agents within this time.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// What a server may say at most of when to report again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What goes on from one report to the next.
struct Agent<'c> {
    configuration: &'c Configuration,
    identity: Identity,
    joined: Joined,
    server: Connection,
    host: HostRollout,
    facts: Facts,
    status: Status,
    work: Option<RunningWork>,
    failures: u32,
}

pub(super) fn run(configuration: &Configuration) -> Result<(), Failure> {
    let identity = Identity::of(&configuration.state);
    let joined = identity.joined()?.ok_or_else(|| {
        Failure::new("this host has not joined a cluster").hint("`keystead agent join` joins one".to_owned())
    })?;
    let server = identity.connect(&joined)?;
    let mut agent = Agent {
        host: configuration.host()?,
        status: Status::read(&configuration.state),
        facts: Facts::default(),
        work: None,
        failures: 0,
        configuration,
        identity,
        joined,
        server,
    };
    let runtime = crate::runtime()?;
    let mut signal = {
        let _signals_need_it = runtime.enter();
        let signal =
            termination().map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
        Box::pin(signal)
    };
    say(&format!("agent of {}, at {}", agent.joined.host, agent.joined.server));
    loop {
        let pause = agent.turn(&runtime)?;
        if let Some(signal) = runtime.block_on(paused(&mut signal, pause)) {
            say(&format!("{signal}: stops after the step that is under way"));
            // What is half done is gone on with by the next one.
            agent.work.into_iter().for_each(RunningWork::join);
            return Ok(());
        }
    }
}

/// The signal that came meanwhile.
async fn paused<S: Future<Output = &'static str>>(
    signal: &mut Pin<Box<S>>,
    pause: Duration,
) -> Option<&'static str> {
    tokio::select! {
        signal = signal => Some(signal),
        () = tokio::time::sleep(pause) => None,
    }
}

impl Agent<'_> {
    /// One report, and what comes of it. The answer is how long until the next.
    fn turn(&mut self, runtime: &tokio::runtime::Runtime) -> Result<Duration, Failure> {
        let work = self.work.as_ref().map(RunningWork::report);
        let busy = work.is_some();
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        self.status.sequence = self.status.sequence.saturating_add(1).max(now);
        let facts = self.facts.get(runtime, &self.host, busy);
        let report = report(self.status.sequence, facts, work.as_ref());
        let answered = self.server.post("/keystead/v1/agent:report", &[], &json!({ "report": report }));
        let pause = match answered.and_then(|answer| Answer::read(&answer)) {
            Ok(answer) => {
                if self.status.trouble.take().is_some() {
                    say("the server answers again");
                }
                self.failures = 0;
                self.status.heard = Some(Timestamp::now());
                self.follow(answer.instruction);
                if let Err(failure) =
                    credentials::renew_if_old(self.configuration, &self.joined, &self.server)
                {
                    say(&format!("the plugins of this host get no new credentials: {failure}"));
                }
                if self.identity.renew_if_due(&self.joined, &self.server)? {
                    self.joined = self.identity.joined()?.unwrap_or_else(|| self.joined.clone());
                    self.server = self.identity.connect(&self.joined)?;
                }
                answer.pause
            }
            Err(failure) => {
                let text = failure.to_string();
                if self.status.trouble.as_ref() != Some(&text) {
                    text.lines().for_each(|line| say(&visible(line)));
                }
                self.status.trouble = Some(text);
                self.failures = self.failures.saturating_add(1);
                retry(self.failures, self.status.sequence)
            }
        };
        self.status.work = self.work.as_ref().map(RunningWork::in_words);
        if let Err(error) = self.status.write(&self.configuration.state) {
            say(&format!("what was done last cannot be kept: {error}"));
        }
        Ok(pause)
    }

    /// Does what the server wants, unless this host does not.
    fn follow(&mut self, instruction: Option<Instruction>) {
        match (instruction, self.work.take()) {
            (Some(instruction), Some(mut work)) if work.is_for(&instruction) => {
                work.go_on(self.configuration, &self.joined);
                self.work = Some(work);
            }
            // One rollout at a time: what was begun comes to a safe place first.
            (_, Some(work)) if work.is_running() => {
                work.stop();
                self.work = Some(work);
            }
            (Some(instruction), _) => {
                say(&format!("{}: begins", instruction.operation));
                self.work = Some(RunningWork::start(instruction, self.configuration, &self.joined));
            }
            (None, _) => {}
        }
    }
}

/// Agents of many hosts that lost one server do not come back at the same moment.
fn retry(failures: u32, random: u64) -> Duration {
    let longest = RETRY_MAX.min(RETRY.saturating_mul(1 << failures.min(8)));
    let half = longest / 2;
    let jitter = u64::try_from(half.as_millis()).unwrap_or(1).max(1);
    half + Duration::from_millis(random % jitter)
}

fn report(sequence: u64, facts: &HostFacts, work: Option<&Work>) -> Value {
    let work = work.map(|work| {
        let state = match work.state {
            WorkState::Waiting => "WAITING",
            WorkState::Working => "WORKING",
            WorkState::Done => "DONE",
            WorkState::Failed => "FAILED",
        };
        json!({ "operation": work.operation.as_str(), "state": state, "detail": work.detail })
    });
    json!({
        "sequence": sequence.to_string(),
        "agentVersion": env!("CARGO_PKG_VERSION"),
        "apiServerVersion": facts.api_server_version,
        "configurationHash": facts.configuration_hash,
        "writes": facts.writes,
        "keyIds": facts.key_ids,
        "controlPlane": facts.control_plane,
        "work": work,
    })
}

/// What a server says: one of a few things, and nothing else is heard.
struct Answer {
    instruction: Option<Instruction>,
    pause: Duration,
}

impl Answer {
    fn read(answer: &Value) -> Result<Self, Failure> {
        let seconds = text(answer, "reportAfter").trim_end_matches('s').parse::<u64>().unwrap_or(5);
        let pause = Duration::from_secs(seconds.max(1)).min(PAUSE_MAX);
        let Some(told) = answer.get("instruction").filter(|it| !it.is_null()) else {
            return Ok(Self { instruction: None, pause });
        };
        let unknown = |what: &str| {
            Failure::new(format!("the server wants something that this version does not know: {what}"))
                .hint("install the server's version of keystead on this host".to_owned())
        };
        let operation = text(told, "operation");
        let operation: ClusterOperationId =
            operation.parse().map_err(|_| unknown("an operation without a name"))?;
        let key = || -> Result<CryptoKeyName, Failure> {
            text(told, "cryptoKey").parse().map_err(|_| unknown("a key that is none"))
        };
        let goal = match text(told, "goal") {
            "ENCRYPT" => HostGoal::Encrypt(key()?),
            "REENCRYPT" => HostGoal::Reencrypt(key()?),
            "DECRYPT" => HostGoal::Decrypt,
            other => return Err(unknown(&other.chars().take(40).collect::<String>())),
        };
        Ok(Self { instruction: Some(Instruction { operation, goal }), pause })
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_one_of_three_things() {
        let key = "projects/key-project/locations/us/keyRings/r/cryptoKeys/k";
        let told = |goal: &str, key: &str| json!({ "instruction": { "operation": "operation-1", "goal": goal, "cryptoKey": key }, "reportAfter": "1s" });
        let read = |answer: &Value| Answer::read(answer).map(|it| it.instruction.map(|it| it.goal));
        let is = |goal: &str, key: &str| read(&told(goal, key)).expect("known").expect("an instruction");
        assert_eq!(is("ENCRYPT", key), HostGoal::Encrypt(key.parse().expect("a key")));
        assert_eq!(is("REENCRYPT", key), HostGoal::Reencrypt(key.parse().expect("a key")));
        assert_eq!(is("DECRYPT", ""), HostGoal::Decrypt);
        for (goal, key) in [
            ("ENCRYPT", "../../etc/passwd"),
            ("ENCRYPT", ""),
            ("WRITE_FILE", key),
            ("", key),
            ("encrypt", key),
        ] {
            read(&told(goal, key)).expect_err(goal);
        }
        let nameless = json!({ "instruction": { "operation": "x;reboot", "goal": "DECRYPT" } });
        read(&nameless).expect_err("no operation");
        assert_eq!(read(&json!({})).expect("nothing"), None);
        assert_eq!(read(&json!({ "instruction": null })).expect("nothing"), None);
    }

    #[test]
    fn a_server_does_not_keep_an_agent_silent_and_is_not_asked_without_end() {
        let pause = |text: &str| Answer::read(&json!({ "reportAfter": text })).expect("an answer").pause;
        assert_eq!(pause("3s"), Duration::from_secs(3));
        assert_eq!(pause("0s"), Duration::from_secs(1));
        assert_eq!(pause("99999999999s"), PAUSE_MAX);
        assert_eq!(pause("soon"), Duration::from_secs(5));
        for failures in [1, 5, 6, 1_000_000] {
            let (shortest, longest) = (retry(failures, 0), retry(failures, u64::MAX));
            assert!(RETRY <= longest && longest <= RETRY_MAX && shortest <= longest, "{failures}");
        }
        assert_eq!(retry(100, 0), RETRY_MAX / 2);
    }
}
