//! A host that is asked through the cluster: a command that an operator runs there finds its tasks in a Lease of kube-system, and answers in the
//! same place. [`PeerHost`] is the driver's side, [`super::Part`] that command's.

use std::time::Duration;

use keystead_crypto::{Random, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::host_access::{AccessError, HostReply};
use crate::api::{ApiServer, get_lease, put_lease};
use crate::host::{Answer, Task};

/// Before the host's name: one Lease for each host, while its part runs.
const PREFIX: &str = "keystead-host-";
pub(super) const TASK: &str = "keystead.io/task";
pub(super) const ANSWER: &str = "keystead.io/answer";
/// How often a part looks for a task, and a driver for an answer.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Bytes of the longest task or answer: kube-apiserver takes 256 KiB of annotations, and both are in one object.
pub(super) const LONGEST: usize = 120 << 10;
/// Characters of the longest name of a Node here: the name of its Lease has at most 253, as any DNS subdomain of RFC 1123 has.
const NAME_MAX: usize = 253 - PREFIX.len();

/// A control-plane host whose part of the rollout another process does.
#[derive(Clone, Debug)]
pub struct PeerHost {
    /// The name of its Node.
    pub name: String,
    /// The API servers, any of which is asked.
    pub servers: Vec<ApiServer>,
    /// [`super::DriverLease::driver`].
    pub driver: String,
    /// How long an answer is waited for. Zero: it is not asked, and nothing is written.
    pub limit: Duration,
}

/// A task on its way. Whoever reads it may be an older or a newer program, so what is asked is read apart.
#[derive(Serialize, Deserialize)]
pub(super) struct Mail {
    pub(super) id: String,
    pub(super) driver: String,
    /// The program's.
    #[serde(default)]
    pub(super) version: String,
    pub(super) task: Value,
}

/// What came of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) id: String,
    /// The program's.
    #[serde(default)]
    pub(super) version: String,
    pub(super) reply: Value,
}

/// This program's.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a person does when two hosts do not understand each other. `theirs` is empty where it is not said.
pub(super) fn other_version(theirs: &str) -> String {
    let theirs = if theirs.is_empty() { "an unknown one" } else { theirs };
    format!(
        "keystead has version {VERSION} here and {theirs} there, which do not understand each other: install the same version on all control-plane hosts"
    )
}

/// A host whose Lease could not have that name would be waited for without end.
///
/// # Errors
///
/// It is no name of a Node: a DNS subdomain of RFC 1123, of at most 239 characters, so that a Lease can be named after it.
pub fn refuse_name(host: &str) -> Result<(), String> {
    let is_end = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit();
    let is_label = |label: &str| {
        label.starts_with(is_end)
            && label.ends_with(is_end)
            && label.chars().all(|it| is_end(it) || it == '-')
    };
    match host.len() <= NAME_MAX && host.split('.').all(is_label) {
        true => Ok(()),
        false => Err(format!(
            "{host} cannot be the name of a Node: it has at most {NAME_MAX} small letters, digits, dots and hyphens, and begins and ends with a letter or digit"
        )),
    }
}

impl PeerHost {
    /// Whether its part runs: it is asked for a look, and answers in time.
    pub async fn is_there(&self) -> bool {
        let look = Task::Look { resources: Vec::new(), plugins: Vec::new() };
        let ask = Self { limit: THERE, ..self.clone() };
        !matches!(ask.perform(&look).await, Err(AccessError::NoAnswer { .. }))
    }

    pub(super) async fn perform(&self, task: &Task) -> Result<Answer, AccessError> {
        let destination = || self.name.clone();
        let no_answer = |reason: String| AccessError::NoAnswer { destination: destination(), reason };
        let remote = |message: String| AccessError::Remote { destination: destination(), message };
        if self.limit.is_zero() {
            return Err(no_answer(NOT_ASKED.to_owned()));
        }
        let mut id = [0; 16];
        SystemRandom.fill(&mut id).map_err(|error| no_answer(error.to_string()))?;
        let task = serde_json::to_value(task).map_err(|error| no_answer(error.to_string()))?;
        let mail =
            Mail { id: hex::encode(id), driver: self.driver.clone(), version: VERSION.to_owned(), task };
        let text = serde_json::to_string(&mail).map_err(|error| no_answer(error.to_string()))?;
        if text.len() > LONGEST {
            return Err(no_answer(format!(
                "the task has {} bytes, and {LONGEST} go this way: use --over ssh",
                text.len()
            )));
        }
        let Reply { version, reply, .. } = self.exchange(&mail.id, &text).await.map_err(no_answer)?;
        match serde_json::from_value(reply) {
            Ok(HostReply::Answer(answer)) => Ok(answer),
            Ok(HostReply::Changed) => Err(AccessError::RemoteChanged { destination: destination() }),
            Ok(HostReply::Failed(message)) => Err(remote(message)),
            Err(_) => Err(remote(other_version(&version))),
        }
    }

    /// Waits for a part that was ended and begins again, too.
    async fn exchange(&self, id: &str, text: &str) -> Result<Reply, String> {
        let began = Instant::now();
        let mut reason = NOT_THERE.to_owned();
        loop {
            match get_lease(&self.servers, &name(&self.name)).await {
                Ok(Some(mut lease)) => {
                    NO_WORD.clone_into(&mut reason);
                    let annotations = &mut lease.metadata.annotations;
                    let answer = annotations.get(ANSWER).and_then(|it| serde_json::from_str(it).ok());
                    if let Some(reply) = answer.filter(|it: &Reply| it.id == id) {
                        return Ok(reply);
                    }
                    if annotations.get(TASK).map(String::as_str) != Some(text) {
                        annotations.insert(TASK.to_owned(), text.to_owned());
                        // One that was not written is written at the next look.
                        drop(put_lease(&self.servers, &lease).await);
                    }
                }
                Ok(None) => NOT_THERE.clone_into(&mut reason),
                Err(error) => reason = keystead_model::ErrorChain(&error).to_string(),
            }
            if began.elapsed() > self.limit {
                return Err(reason);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The name of a host's Lease.
pub(super) fn name(host: &str) -> String {
    format!("{PREFIX}{host}")
}

const NOT_ASKED: &str = "other hosts are asked only with --yes";
const NOT_THERE: &str = "its part of the rollout does not run: run the same command there";
const NO_WORD: &str =
    "its part of the rollout does not answer: look whether the same command still runs there";
/// A look asks plugins that may each take some seconds.
const THERE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::refuse_name;

    #[test]
    fn what_names_no_node_names_no_lease() {
        for name in ["cp-1", "10.0.0.1", "ip-10-0-0-1.eu-west-1.compute.internal", &"a".repeat(239)] {
            assert_eq!(refuse_name(name), Ok(()));
        }
        for name in ["", "CP-1", "root@cp-1", "cp_1", "-cp", "cp.", "a..b", "cp/1", &"a".repeat(240)] {
            assert!(refuse_name(name).is_err(), "{name}");
        }
    }
}
