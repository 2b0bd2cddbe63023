//! The control-plane hosts of a cluster: what an agent on each says, and what that makes of the cluster's task.
//!
//! A task begins when every host is there, and has ended well when every host says so. What is safe on the way the agents find
//! out by themselves, from the cluster: nobody here is believed about that.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cluster::Task;
use crate::{Cluster, ClusterHostName, ClusterOperationId, CryptoKeyName, is_unseen};

/// Control-plane hosts of one cluster. More than nine are never advised, because each is a member of etcd.
pub const MOST_HOSTS: usize = 16;
/// A host that has said nothing for so long is waited for by name.
pub const SILENT_AFTER: SignedDuration = SignedDuration::from_mins(3);
/// Longest name of a Node, in bytes: a DNS subdomain.
const MAX_NODE_LEN: usize = 253;
/// Longest version that a report has, in bytes.
const MAX_VERSION_LEN: usize = 128;
/// Longest sentence of a report, in bytes.
const MAX_SENTENCE_LEN: usize = 2048;
/// Key ids of one host: one for each plugin.
const MOST_KEY_IDS: usize = 16;
/// Longest key id, in bytes: kube-apiserver's limit.
const MAX_KEY_ID_LEN: usize = 1024;
/// Nodes that a report has. Some may be going while others come.
const MOST_NODES: usize = 2 * MOST_HOSTS;

/// A host that may join a cluster, or has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterHost {
    /// Its name here.
    pub name: ClusterHostName,
    /// The name of its Node.
    pub node: String,
    /// When it was invited, to the microsecond.
    pub create_time: Timestamp,
    /// The id of the token with which it may join; none: it has, and was heard since.
    pub join_token: Option<String>,
    /// How it joined; none: it has not.
    pub joined: Option<Joined>,
    /// Ids of the tokens that its plugins have of the clusters' service account, the oldest first.
    pub plugin_tokens: Vec<String>,
    /// When it was last given a certificate; none: never.
    pub certificate_time: Option<Timestamp>,
    /// When its plugins were last given a token; none: never.
    pub plugin_token_time: Option<Timestamp>,
    /// What it said last; none: nothing.
    pub reported: Option<Reported>,
}

/// How a host joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// When, to the microsecond.
    pub time: Timestamp,
    /// SHA-256 of its public key, hexadecimal. Its token counts for this one only.
    pub public_key: String,
}

/// What a host said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// When it was heard, to the microsecond. It may have said the same again up to a minute later.
    pub time: Timestamp,
    /// What.
    pub report: HostReport,
}

/// What an agent says of its host. It is shown, and decides when a task begins and ends; no key is ever used or destroyed by it alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Higher than that of each report before, which an earlier one that comes again is not.
    pub sequence: u64,
    /// The agent's version, such as `0.1.0`.
    pub agent_version: String,
    /// The API server's, such as `v1.37.2`; empty: it does not answer.
    pub api_server_version: String,
    /// SHA-256 of the EncryptionConfiguration that the API server uses, hexadecimal; empty: none, or it does not say.
    pub configuration_hash: String,
    /// What the host's file has values stored with, such as `kms:v2:NAME` or `identity`; empty: that is not clear.
    pub writes: String,
    /// What the plugins encrypt with.
    pub key_ids: Vec<String>,
    /// Names of the Nodes that run a control plane, as this host's API server has them.
    pub control_plane: Vec<String>,
    /// What it does for the cluster's task; none: nothing.
    pub work: Option<Work>,
}

/// What a host does for a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The operation that tells of the task.
    pub operation: ClusterOperationId,
    /// How far it is.
    pub state: WorkState,
    /// What it is doing or waiting for, or why it cannot, in a sentence.
    pub detail: String,
}

/// How far a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkState {
    /// It has not changed anything, and waits for somebody on the host to approve.
    Waiting,
    /// It is at it.
    Working,
    /// It has seen that everything is as it is to be, on every host.
    Done,
    /// It stopped, and does not go on by itself.
    Failed,
}

/// What an agent is to bring its host to. Never how: files, flags and steps are its own business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The operation that tells of it.
    pub operation: ClusterOperationId,
    /// Where it goes.
    pub goal: HostGoal,
}

/// Where a task goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostGoal {
    /// Everything is stored under this key, whatever it is stored with now.
    Encrypt(CryptoKeyName),
    /// The same where it is stored under that key already, perhaps under older versions.
    Reencrypt(CryptoKeyName),
    /// Everything is stored plainly.
    Decrypt,
}

/// What becomes of a running task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on when what the sentence names has come.
    Wait(String),
    /// All hosts are there: from now on they may change something.
    Begin,
    /// It has done what it was for.
    Succeed,
    /// It will not.
    Fail(String),
}

/// A report that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReport {
    /// A part of it is too long.
    #[error("the report's {part} has {given} {unit}, and {most} are allowed")]
    TooLong {
        /// Which.
        part: &'static str,
        /// Bytes or entries.
        unit: &'static str,
        /// How many.
        given: usize,
        /// The most.
        most: usize,
    },
    /// It was made before one that was taken already.
    #[error(
        "the report has the number {given}, and {taken} was taken already: an agent's numbers grow, and two agents of one host do not count"
    )]
    Old {
        /// Its number.
        given: u64,
        /// The last one that was taken.
        taken: u64,
    },
    /// It would be shown to people as it is.
    #[error(
        "the report's {0} has a letter that cannot be seen, such as a line break or one that changes the direction of a line"
    )]
    Unseen(&'static str),
    /// A name that no Node can have.
    #[error(
        "the report's control_plane has a name that is no Node's: lower-case letters, digits, hyphens and dots, at most 253"
    )]
    Node,
    /// Numbers are milliseconds since 1970 where the agent has none yet.
    #[error(
        "the report has the number {0}, which is more than a day ahead of the server's clock: set the clock of the host"
    )]
    Ahead(u64),
}

/// Whether a text can be the name of a Node.
pub fn is_node_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= MAX_NODE_LEN && text.split('.').all(is_label)
}

impl HostReport {
    /// Refuses one that would make records grow, and one that was made before `last`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self, last: Option<&Reported>, now: Timestamp) -> Result<(), InvalidReport> {
        let work = self.work.as_ref().map_or("", |work| &work.detail);
        for (part, text, most) in [
            ("agent_version", self.agent_version.as_str(), MAX_VERSION_LEN),
            ("api_server_version", &self.api_server_version, MAX_VERSION_LEN),
            ("configuration_hash", &self.configuration_hash, MAX_VERSION_LEN),
            ("writes", &self.writes, MAX_SENTENCE_LEN),
            ("work.detail", work, MAX_SENTENCE_LEN),
        ]
        .into_iter()
        .chain(self.key_ids.iter().map(|id| ("key id", id.as_str(), MAX_KEY_ID_LEN)))
        {
            if text.len() > most {
                return Err(InvalidReport::TooLong { part, unit: "bytes", given: text.len(), most });
            }
            if text.contains(is_unseen) {
                return Err(InvalidReport::Unseen(part));
            }
        }
        for (part, given, most) in [
            ("key_ids", self.key_ids.len(), MOST_KEY_IDS),
            ("control_plane", self.control_plane.len(), MOST_NODES),
        ] {
            if given > most {
                return Err(InvalidReport::TooLong { part, unit: "entries", given, most });
            }
        }
        if !self.control_plane.iter().all(|node| is_node_name(node)) {
            return Err(InvalidReport::Node);
        }
        if let Some(taken) = last.map(|last| last.report.sequence).filter(|taken| self.sequence <= *taken) {
            return Err(InvalidReport::Old { given: self.sequence, taken });
        }
        let tomorrow = now.as_millisecond().saturating_add(DAY_MS);
        if i128::from(self.sequence) > i128::from(tomorrow) {
            return Err(InvalidReport::Ahead(self.sequence));
        }
        Ok(())
    }

    /// Whether it says something on which the beginning or the end of a task depends, and another one did not.
    pub fn decides_more_than(&self, other: &Self) -> bool {
        let state = |report: &Self| report.work.as_ref().map(|work| (work.operation.clone(), work.state));
        self.control_plane != other.control_plane || state(self) != state(other)
    }

    /// Whether it says something else than another one.
    pub fn says_more_than(&self, other: &Self) -> bool {
        let sequence = self.sequence;
        *self != Self { sequence, ..other.clone() }
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl ClusterHost {
    /// Whether it is there now.
    pub fn is_heard(&self, now: Timestamp) -> bool {
        let since = |time: Timestamp| now.duration_since(time);
        self.joined.is_some() && self.reported.as_ref().is_some_and(|it| since(it.time) <= SILENT_AFTER)
    }

    /// What it does for this operation.
    pub fn work(&self, operation: &ClusterOperationId) -> Option<&Work> {
        let work = self.reported.as_ref()?.report.work.as_ref()?;
        (work.operation == *operation).then_some(work)
    }

    /// Why it is waited for; none: it is there.
    fn is_awaited(&self, now: Timestamp) -> Option<String> {
        match (&self.joined, &self.reported) {
            _ if self.is_heard(now) && self.knows_control_plane() => None,
            _ if self.is_heard(now) => Some(format!("{} (its API server does not answer)", self.node)),
            (None, _) => Some(format!("{} (invited, has not joined)", self.node)),
            (Some(_), None) => Some(format!("{} (joined, its agent does not run)", self.node)),
            (Some(_), Some(said)) => Some(format!("{} (silent since {})", self.node, said.time)),
        }
    }

    /// Whether it knows which nodes there are: then it names itself.
    fn knows_control_plane(&self) -> bool {
        self.reported.as_ref().is_some_and(|it| it.report.control_plane.contains(&self.node))
    }
}

/// What becomes of the running task of a cluster; none: nothing runs that its hosts have to do with.
pub fn next(cluster: &Cluster, hosts: &[ClusterHost], now: Timestamp) -> Option<Next> {
    let running = cluster.running.as_ref()?;
    let target = running.task.target()?;
    let work = || hosts.iter().filter_map(|host| Some((&host.node, host.work(&running.operation)?)));
    let failed = work().find(|(_, work)| work.state == WorkState::Failed);
    if let Some((node, work)) = failed.filter(|_| running.begun) {
        return Some(Next::Fail(format!("host {node}: {}", work.detail)));
    }
    if let Some(awaited) = awaited(cluster, hosts, now) {
        return Some(Next::Wait(awaited));
    }
    Some(match &running.task {
        // What is plain already is not touched.
        Task::Create(_) if target.key.is_none() => Next::Succeed,
        _ if !running.begun => Next::Begin,
        _ if work().filter(|(_, work)| work.state == WorkState::Done).count() == hosts.len() => Next::Succeed,
        _ => {
            let details = work().filter(|(_, work)| work.state != WorkState::Done && !work.detail.is_empty());
            let details: Vec<_> = details.map(|(node, work)| format!("{node}: {}", work.detail)).collect();
            Next::Wait(match details.is_empty() {
                true => format!("the hosts of cluster {} are told", cluster.name.cluster),
                false => details.join("; "),
            })
        }
    })
}

/// Whether every host of a cluster is there, so that a task of it would begin at once.
pub fn are_all_there(cluster: &Cluster, hosts: &[ClusterHost], now: Timestamp) -> bool {
    awaited(cluster, hosts, now).is_none()
}

/// Who is not there, in a sentence; none: all are.
fn awaited(cluster: &Cluster, hosts: &[ClusterHost], now: Timestamp) -> Option<String> {
    let name = &cluster.name.cluster;
    if hosts.is_empty() {
        return Some(format!("waiting for the hosts of cluster {name} to join it"));
    }
    let mut awaited: Vec<String> = hosts.iter().filter_map(|host| host.is_awaited(now)).collect();
    let is_known = |node: &String| hosts.iter().any(|host| host.node == *node);
    let seen = hosts.iter().filter(|host| host.is_heard(now)).filter_map(|host| host.reported.as_ref());
    let mut unknown: Vec<&String> =
        seen.flat_map(|it| &it.report.control_plane).filter(|it| !is_known(it)).collect();
    unknown.sort();
    unknown.dedup();
    awaited.extend(unknown.into_iter().map(|node| format!("{node} (runs a control plane, is not invited)")));
    (!awaited.is_empty()).then(|| format!("waiting for hosts of cluster {name}: {}", awaited.join(", ")))
}

/// What the hosts of a cluster are to do now; none: nothing. A task that has not begun on record tells nobody anything.
pub fn instruction(cluster: &Cluster) -> Option<Instruction> {
    let running = cluster.running.as_ref().filter(|running| running.begun)?;
    let goal = match running.task.target()?.key.clone() {
        None => HostGoal::Decrypt,
        Some(key) if cluster.needed_to_read() == [key.clone()] && cluster.encryption.key.is_some() => {
            HostGoal::Reencrypt(key)
        }
        Some(key) => HostGoal::Encrypt(key),
    };
    Some(Instruction { operation: running.operation.clone(), goal })
}

/// Whether an agent and a server understand each other: versions of which the minor ones differ by one at most.
pub fn versions_fit(one: &str, other: &str) -> bool {
    let parts = |text: &str| {
        let mut numbers = text.split(['.', '-', '+']).map(|it| it.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    match (parts(one), parts(other)) {
        (Some((major, minor)), Some((other_major, other_minor))) => {
            major == other_major && minor.abs_diff(other_minor) <= 1
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
