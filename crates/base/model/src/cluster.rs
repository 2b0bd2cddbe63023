//! A cluster whose encryption is managed here, and what is done to it: one task at a time.
//!
//! | a task | ends well | fails before its first step | fails after it |
//! |---|---|---|---|
//! | creates | the cluster has the key, or none | nothing has changed | it is on its way; older keys are needed |
//! | encrypts, decrypts | everything is under the key, or plain | nothing has changed | it is on its way; older keys are needed |
//!
//! Whatever happened, the keys of [`Cluster::needed_to_read`] are those that a stored value may be under.

pub mod reencryption;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ClusterId, ClusterName, ClusterOperationId, ClusterOperationName, CryptoKeyName, ErrorClass};

/// Failures of a cluster that are shown until a task ends well: Kubernetes Engine keeps the last two.
pub const MOST_FAILURES: usize = 2;

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Random, 64 hexadecimal digits, never used again.
    pub id: String,
    /// When it was made, to the microsecond.
    pub create_time: Timestamp,
    /// Free data, as the caller chose it.
    pub labels: BTreeMap<String, String>,
    /// What the caller said about nodes, networks and add-ons: JSON as the API writes it. Nothing here depends on it.
    pub settings: String,
    /// The version that was asked for, such as `latest`.
    pub initial_version: String,
    /// What its Secrets are encrypted with.
    pub encryption: Encryption,
    /// What is being done to it; none: nothing.
    pub running: Option<Running>,
    /// API servers that the server itself runs for it, see [`Cluster::local_nodes`]; none: it is where its hosts are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_api_servers: Option<u8>,
    /// Keys of which an inventory of this cluster is registered, also those that it needs no more: it is counted once more, and then forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted_keys: Vec<CryptoKeyName>,
}

/// The label by which a new cluster says how many API servers the server is to run for it; `no`: its hosts are somebody's own.
pub const LOCAL_LABEL: &str = "keystead-local";
/// The label whose value is the name of a cluster that may be forgotten although its Secrets are under a key.
pub const DETACH_LABEL: &str = "keystead-detach";

/// How many API servers a local cluster can have: one, or three, so that the others serve while one restarts.
pub const LOCAL_API_SERVERS: [u8; 2] = [1, 3];

/// What the Secrets of a cluster are encrypted with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// The key that the last task left everything under; none: everything is plain.
    pub key: Option<CryptoKeyName>,
    /// Where a task was going that failed on its way; none: none did since the last that ended well.
    pub abandoned: Option<Target>,
    /// Other keys that values may be under, because more than one task failed on its way.
    pub older: Vec<CryptoKeyName>,
    /// The last failures, oldest first, at most [`MOST_FAILURES`].
    pub failures: Vec<EncryptionFailure>,
}

/// What a task makes of the encryption of a cluster; without a key, everything is to be plain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The key.
    pub key: Option<CryptoKeyName>,
}

/// A task that did not do what it was for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionFailure {
    /// The key that it was about.
    pub key: Option<CryptoKeyName>,
    /// What is wrong and what to do.
    pub message: String,
    /// When, to the microsecond.
    pub time: Timestamp,
}

/// What is being done to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The operation that tells of it.
    pub operation: ClusterOperationId,
    /// What.
    pub task: Task,
    /// Whether something of it was done to the cluster, so that values may be stored in another way than before.
    pub begun: bool,
}

/// What can be done to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// It is made.
    Create(Target),
    /// Its encryption is changed.
    Update(Target),
    /// It gets other labels.
    SetLabels,
    /// It is not managed here any more.
    Delete,
}

/// Something that was done, or is being done, to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterOperation {
    /// Its name.
    pub name: ClusterOperationName,
    /// The cluster, which may be gone.
    pub cluster: ClusterId,
    /// What.
    pub task: Task,
    /// When it was asked for, to the microsecond.
    pub start_time: Timestamp,
    /// What it is waiting for or doing, in a sentence.
    pub detail: String,
    /// How it ended; none: it runs.
    pub end: Option<End>,
    /// Why the server started it by itself, in a sentence; none: somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When, to the microsecond.
    pub time: Timestamp,
    /// Why it did not do what it was for; none: it did.
    pub failure: Option<Failure>,
}

/// Why an operation did not do what it was for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Somebody wanted it to end.
    pub cancelled: bool,
    /// What is wrong and what to do.
    pub message: String,
}

/// Something else is being done to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Operation {operation} is running on cluster {cluster}: wait until it is done, or end it with `gcloud container operations \
     cancel {operation} --location {} --project {}`{}, then try again.",
    cluster.location.location,
    cluster.location.project,
    if *.is_new { ", with which the cluster that it makes is gone" } else { "" }
)]
pub struct Busy {
    cluster: ClusterName,
    operation: ClusterOperationId,
    is_new: bool,
}

impl Busy {
    /// One class for all.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::FailedPrecondition
    }
}

impl Task {
    /// What it makes of the encryption; none: nothing.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Create(target) | Self::Update(target) => Some(target),
            Self::SetLabels | Self::Delete => None,
        }
    }
}

impl Cluster {
    /// Refuses while something is being done to it.
    pub fn check_idle(&self) -> Result<(), Busy> {
        match &self.running {
            None => Ok(()),
            Some(running) => Err(Busy {
                cluster: self.name.clone(),
                operation: running.operation.clone(),
                is_new: matches!(running.task, Task::Create(_)) && !running.begun,
            }),
        }
    }

    /// A task was accepted, and nothing of it is done yet.
    pub fn start(&self, operation: ClusterOperationId, task: Task) -> Result<Self, Busy> {
        self.check_idle()?;
        Ok(Self { running: Some(Running { operation, task, begun: false }), ..self.clone() })
    }

    /// The running task is about to change how values are stored. To be on record before it does.
    pub fn begin(&self) -> Self {
        let running = self.running.clone().map(|running| Running { begun: true, ..running });
        Self { running, ..self.clone() }
    }

    /// The running task has done what it was for.
    pub fn succeed(&self) -> Self {
        let target = self.running.as_ref().and_then(|running| running.task.target());
        let encryption = match target {
            Some(Target { key }) => Encryption { key: key.clone(), ..Encryption::default() },
            None => self.encryption.clone(),
        };
        Self { encryption, running: None, ..self.clone() }
    }

    /// The running task ends and has not done what it was for.
    pub fn fail(&self, message: &str, time: Timestamp) -> Self {
        let Some(running) = &self.running else { return self.clone() };
        let Some(target) = running.task.target() else { return Self { running: None, ..self.clone() } };
        let mut encryption = self.encryption.failed(target, message, time);
        if running.begun {
            encryption.leave_on_the_way_to(target);
        }
        Self { encryption, running: None, ..self.clone() }
    }

    /// A task was refused before it was accepted.
    pub fn refuse(&self, target: &Target, message: &str, time: Timestamp) -> Self {
        Self { encryption: self.encryption.failed(target, message, time), ..self.clone() }
    }

    /// What was asked for is so already: earlier failures do not matter any more.
    pub fn forgive(&self) -> Self {
        let encryption = Encryption { failures: Vec::new(), ..self.encryption.clone() };
        Self { encryption, ..self.clone() }
    }

    /// Where its encryption is going, or was going when a task failed on its way.
    pub fn heading_for(&self) -> Option<&Target> {
        let running = self.running.as_ref().and_then(|running| running.task.target());
        running.or(self.encryption.abandoned.as_ref())
    }

    /// The names of the Nodes of a local cluster; none of them for any other.
    pub fn local_nodes(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.local_api_servers.unwrap_or_default()).map(|index| format!("host-{index}"))
    }

    /// Every key that a stored value may be under, the one that is to stay first.
    pub fn needed_to_read(&self) -> Vec<CryptoKeyName> {
        let running = self.running.as_ref().and_then(|running| running.task.target());
        let mut keys: Vec<CryptoKeyName> = Vec::new();
        for key in running.and_then(|target| target.key.clone()).into_iter().chain(self.encryption.keys()) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }
}

impl Encryption {
    fn failed(&self, target: &Target, message: &str, time: Timestamp) -> Self {
        let mut encryption = self.clone();
        encryption.failures.push(EncryptionFailure {
            key: target.key.clone(),
            message: message.to_owned(),
            time,
        });
        let too_many = encryption.failures.len().saturating_sub(MOST_FAILURES);
        encryption.failures.drain(..too_many);
        encryption
    }

    fn leave_on_the_way_to(&mut self, target: &Target) {
        let before = self.abandoned.replace(target.clone()).and_then(|before| before.key);
        if let Some(key) = before
            && !self.older.contains(&key)
        {
            self.older.push(key);
        }
    }

    /// Every key that a stored value may be under while nothing runs.
    fn keys(&self) -> impl Iterator<Item = CryptoKeyName> {
        let abandoned = self.abandoned.iter().filter_map(|target| target.key.clone());
        abandoned.chain(self.key.clone()).chain(self.older.iter().cloned())
    }
}

impl ClusterOperation {
    /// It ends, well or not.
    pub fn ended(&self, time: Timestamp, failure: Option<Failure>) -> Self {
        Self { detail: String::new(), end: Some(End { time, failure }), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn key(id: &str) -> CryptoKeyName {
        format!("projects/key-project/locations/us/keyRings/r/cryptoKeys/{id}").parse().unwrap()
    }

    fn to(id: &str) -> Task {
        Task::Update(Target { key: Some(key(id)) })
    }

    fn operation() -> ClusterOperationId {
        "operation-1".parse().unwrap()
    }

    fn cluster() -> Cluster {
        Cluster {
            name: "projects/cluster-project/locations/us/clusters/c".parse().unwrap(),
            id: String::new(),
            create_time: NOW,
            labels: BTreeMap::new(),
            settings: String::new(),
            initial_version: String::new(),
            encryption: Encryption { key: Some(key("a")), ..Encryption::default() },
            running: None,
            local_api_servers: None,
            counted_keys: Vec::new(),
        }
    }

    #[test]
    fn one_task_at_a_time() {
        let busy = cluster().start(operation(), to("b")).unwrap();
        let refused = busy.start("operation-2".parse().unwrap(), to("c")).unwrap_err();
        assert_eq!(refused.class(), ErrorClass::FailedPrecondition);
        assert!(refused.to_string().contains("operation-1"), "{refused}");
        busy.succeed().start(operation(), to("c")).unwrap();
    }

    #[test]
    fn what_ended_well_needs_its_own_key_only() {
        let moving = cluster().start(operation(), to("b")).unwrap().begin();
        assert_eq!(moving.needed_to_read(), [key("b"), key("a")]);
        let moved = moving.succeed();
        assert_eq!(moved.needed_to_read(), [key("b")]);
        assert_eq!(moved.heading_for(), None);
        let plain = moved.start(operation(), Task::Update(Target { key: None })).unwrap().begin();
        assert_eq!(plain.needed_to_read(), [key("b")]);
        assert_eq!(plain.succeed().needed_to_read(), []);
    }

    #[test]
    fn what_failed_before_its_first_step_has_changed_nothing() {
        let failed = cluster().start(operation(), to("b")).unwrap().fail("no host came", NOW);
        assert_eq!(failed.needed_to_read(), [key("a")]);
        assert_eq!((failed.heading_for(), failed.running.as_ref()), (None, None));
        assert_eq!(failed.encryption.failures[0].key, Some(key("b")));
        let refused = cluster().refuse(&Target { key: Some(key("b")) }, "no grant", NOW);
        assert_eq!(
            refused.encryption,
            Encryption {
                failures: vec![EncryptionFailure {
                    message: "no grant".into(),
                    ..failed.encryption.failures[0].clone()
                }],
                ..cluster().encryption
            }
        );
    }

    #[test]
    fn what_failed_on_its_way_needs_every_key_that_it_met() {
        let mut cluster = cluster();
        for id in ["b", "c", "b", "d"] {
            cluster = cluster.start(operation(), to(id)).unwrap().begin().fail("stopped", NOW);
        }
        assert_eq!(cluster.heading_for(), Some(&Target { key: Some(key("d")) }));
        assert_eq!(cluster.needed_to_read(), [key("d"), key("a"), key("b"), key("c")]);
        assert_eq!(cluster.encryption.failures.len(), MOST_FAILURES);
        let again = cluster.start(operation(), to("d")).unwrap().begin().succeed();
        assert_eq!(again.encryption, Encryption { key: Some(key("d")), ..Encryption::default() });
    }

    #[test]
    fn other_tasks_leave_the_encryption_alone() {
        for task in [Task::SetLabels, Task::Delete] {
            let running = cluster().start(operation(), task).unwrap();
            assert_eq!(running.succeed(), cluster());
            assert_eq!(running.fail("no", NOW), cluster());
        }
    }
}
