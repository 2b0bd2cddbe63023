//! The agent's loop: say what is here, hear where to go, go there.

use std::fs::{File, OpenOptions, TryLockError};
use std::pin::Pin;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keystead_model::cluster_host::{HostGoal, HostReport, Instruction, WorkState};
use keystead_model::{ClusterOperationId, CryptoKeyName};
use keystead_runtime::{Failure, termination, whole_file};
use serde_json::{Value, json};

use super::configuration::Configuration;
use super::facts::Facts;
use super::identity::{Identity, Joined};
use super::inventory::Counting;
use super::status::Status;
use super::work::RunningWork;
use super::{approval, credentials};
use crate::cluster::HostRollout;
use crate::connection::Connection;
use crate::output::{say, visible};

/// When the server is asked again that does not answer, at first; each time it is twice as long.
const RETRY: Duration = Duration::from_secs(1);
/// The longest of these. A server that comes back hears of all its agents within this time.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// What a server may say at most of when to report again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A server may have no credentials for a host whose cluster is plain.
const TRIED_AGAIN: Duration = Duration::from_secs(600);
/// Longest trouble that is kept and told, in characters.
const TROUBLE_MAX: usize = 1000;
/// How old the time may be at which the server was last heard, in `keystead agent status`.
const KEPT_FOR: Duration = Duration::from_secs(30);

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
    counting: Counting,
    failures: u32,
    /// When the plugins' credentials could not be renewed.
    tried: Option<Instant>,
    /// What was written down last, and when.
    kept: Option<(Status, Instant)>,
}

pub(super) fn run(configuration: &Configuration) -> Result<(), Failure> {
    let identity = Identity::of(&configuration.state);
    let joined = identity.joined()?.ok_or_else(|| {
        Failure::new("this host has not joined a cluster").hint("`keystead agent join` joins one".to_owned())
    })?;
    let _alone = lock(configuration)?;
    whole_file::remove_unfinished(&configuration.state).ok();
    let server = identity.connect(&joined)?;
    let mut agent = Agent {
        host: configuration.host()?,
        status: Status::read(&configuration.state),
        facts: Facts::default(),
        work: None,
        counting: Counting::default(),
        failures: 0,
        tried: None,
        kept: None,
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
        let pause = agent.turn(&runtime);
        agent.count();
        if let Some(signal) = runtime.block_on(paused(&mut signal, pause)) {
            say(&format!("{signal}: stops after the step that is under way"));
            // What is half done is gone on with by the next one.
            agent.work.into_iter().for_each(RunningWork::join);
            return Ok(());
        }
    }
}

/// Two agents on one state would both do what is asked.
fn lock(configuration: &Configuration) -> Result<File, Failure> {
    let path = configuration.state.join("lock");
    let failed = |error: std::io::Error| Failure::new(format!("cannot lock {}: {error}", path.display()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new("another agent of this host runs")
            .hint("it is one process for a host: see `systemctl status keystead-agent`".to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
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
    fn turn(&mut self, runtime: &tokio::runtime::Runtime) -> Duration {
        let work = self.work.as_ref().map(RunningWork::report);
        let busy = work.is_some();
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        // Only what was taken is remembered: a clock that was wrong does no harm once it is right.
        let sequence = self.status.sequence.saturating_add(1).max(now);
        let facts = self.facts.get(runtime, &self.host, busy);
        let report = HostReport {
            sequence,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            work,
            ..facts.clone()
        };
        let answered =
            self.server.post("/keystead/v1/agent:report", &[], &json!({ "report": as_json(&report) }));
        let answered = answered.and_then(|answer| Answer::read(&answer)).map(|answer| {
            (self.failures, self.status.sequence) = (0, sequence);
            self.status.heard = Some(Timestamp::now());
            self.follow(answer.instruction);
            answer.pause
        });
        let (pause, trouble) = match answered {
            Ok(pause) => (pause, self.keep_up().err()),
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                (retry(self.failures, sequence), Some(failure))
            }
        };
        let trouble =
            trouble.map(|failure| failure.to_string().chars().take(TROUBLE_MAX).collect::<String>());
        match &trouble {
            // Told once, until it is another one.
            Some(text) if trouble != self.status.trouble => text.lines().for_each(|line| say(&visible(line))),
            None if self.status.trouble.is_some() => say("all is well again"),
            _ => {}
        }
        self.status.trouble = trouble;
        self.status.work = self.work.as_ref().map(RunningWork::in_words);
        self.keep_status();
        pause
    }

    /// Says what etcd holds under which version of a key, now and then, while nothing changes that.
    fn count(&mut self) {
        let changes = self.work.as_ref().is_some_and(RunningWork::is_running);
        match self.facts.last() {
            Some(report) if !changes && self.failures == 0 => {
                self.counting.turn(report, &self.host, &self.server)
            }
            _ => self.counting.put_off(),
        }
    }

    /// What the host shows, and what its plugins use keys with, as new as the server wants them.
    fn keep_up(&mut self) -> Result<(), Failure> {
        // One does not wait for the other.
        let credentials = match self.tried.is_none_or(|at| at.elapsed() >= TRIED_AGAIN) {
            true => credentials::renew_if_old(self.configuration, &self.joined, &self.server),
            false => Ok(()),
        };
        if credentials.is_err() {
            self.tried = Some(Instant::now());
        }
        if let Some(joined) = self.identity.renew_if_due(&self.joined, &self.server)? {
            self.joined = joined;
            self.server = self.identity.connect(&self.joined)?;
            if self.configuration.credentials.exists() {
                credentials::write_authority(self.configuration)?;
            }
        }
        credentials
    }

    /// When it says something else than before, and otherwise seldom: etcd may be on the same disk.
    fn keep_status(&mut self) {
        let is_new = |kept: &Status| (&kept.work, &kept.trouble) != (&self.status.work, &self.status.trouble);
        let is_due = self.kept.as_ref().is_none_or(|(kept, at)| is_new(kept) || at.elapsed() >= KEPT_FOR);
        if !is_due {
            return;
        }
        if let Err(error) = self.status.write(&self.configuration.state) {
            say(&format!("what was done last cannot be kept: {error}"));
        }
        self.kept = Some((self.status.clone(), Instant::now()));
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
            // Also of one that an agent before this one had.
            (None, _) => approval::forget(&self.configuration.state),
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

/// As the API has it.
fn as_json(report: &HostReport) -> Value {
    let work = report.work.as_ref().map(|work| {
        let state = match work.state {
            WorkState::Waiting => "WAITING",
            WorkState::Working => "WORKING",
            WorkState::Done => "DONE",
            WorkState::Failed => "FAILED",
        };
        json!({ "operation": work.operation.as_str(), "state": state, "detail": work.detail })
    });
    json!({
        "sequence": report.sequence.to_string(),
        "agentVersion": report.agent_version,
        "apiServerVersion": report.api_server_version,
        "configurationHash": report.configuration_hash,
        "writes": report.writes,
        "keyIds": report.key_ids,
        "controlPlane": report.control_plane,
        "work": work,
    })
}

/// What a server says: one of a few things, and nothing else is heard.
pub(super) struct Answer {
    pub(super) instruction: Option<Instruction>,
    pub(super) pause: Duration,
}

impl Answer {
    pub(super) fn read(answer: &Value) -> Result<Self, Failure> {
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
