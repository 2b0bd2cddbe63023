//! What was seen of a cluster. Facts only: nothing here says what ought to be, and no time decides anything.
//!
//! Who observes looks at the servers first and then at everything else. What it did not see, it does not say: unknown is a
//! value of its own everywhere.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::configuration::{Configuration, Provider, StoredAs};

/// From this minor version on, an API server says which file it uses (metric `last_config_info`).
pub(crate) const TELLS_LOADED_FILE: u32 = 34;

/// Everything that a plan depends on besides its goal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Every API server that is known, whether it answers or not. One that is not found any more stays in the list.
    pub servers: Vec<Server>,
    /// Servers that the user says are gone for good.
    pub removed: BTreeSet<String>,
    /// Every provider that any server was seen with since a goal was last reached, in use or in a file: what was overwritten may
    /// still be needed.
    pub seen_before: BTreeSet<Provider>,
    /// Every first provider that was seen in use or in a file since the last count, or where nobody can count since the last pass
    /// that found nothing: a server that wrote in another way for a while left values behind.
    pub written_since: BTreeSet<Provider>,
    /// The resources of the rollout. All of them have the same provider list.
    pub stored: Vec<Stored>,
    /// Canaries of this run. A failed one of an earlier run is left out, so that it is tried again.
    pub canaries: Vec<Canary>,
}

/// One API server and its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Name of the host.
    pub name: String,
    /// Its own address, not the load balancer's.
    pub address: String,
    /// Whether it serves.
    pub answer: Answer,
    /// 36 for Kubernetes 1.36; none if it does not say.
    pub minor: Option<u32>,
    /// What it would use if it started now: flag and file. None if that could not be read.
    pub on_disk: Option<Configuration>,
    /// What it uses now.
    pub loaded: Loaded,
    /// `--encryption-provider-config-automatic-reload`.
    pub automatic_reload: bool,
    /// Changes with every start and every successful reload, and never comes back: start time of the process and its count of
    /// reloads, for example. Same epoch, same loaded configuration. None if it does not answer.
    pub epoch: Option<String>,
    /// The plugins of its host.
    pub plugins: Vec<Plugin>,
}

impl Server {
    /// Whether a reload can be seen. Otherwise only a start says for certain what is loaded.
    pub(super) fn tells_loaded_file(&self) -> bool {
        self.minor.is_some_and(|minor| minor >= TELLS_LOADED_FILE)
    }

    pub(super) fn plugin(&self, provider: &Provider) -> Option<&Plugin> {
        self.plugins.iter().find(|it| it.provider == *provider)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.answer == Answer::Ready
    }
}

/// Whether an API server serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Answer {
    /// `/readyz` at its own address is ok.
    Ready,
    /// Its host is there, and it is starting, stopped or not ready.
    NotReady {
        /// What `/readyz` or the host says.
        reason: String,
    },
    /// Nothing is known of host or server. It may well be running and writing.
    Silent {
        /// Why not.
        reason: String,
    },
}

/// What an API server uses now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loaded {
    /// Known by the hash that it reports, because it started after the last change of flag and file, or because its command
    /// line has no flag.
    Known(Configuration),
    /// One of these: what it used before the last write of the planner's, and what was written since. It reloads by itself and
    /// does not say what.
    OneOf(Vec<Configuration>),
    /// Seen on its host: no such process runs. The next one loads what is on the disk.
    NotRunning,
    /// It may be anything: somebody else wrote the file since it started.
    Unknown,
}

/// A plugin as seen on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// The KMS entry that it serves, or would.
    pub provider: Provider,
    /// None: its Status is ok and a wrap and unwrap worked. Otherwise what is wrong.
    pub unhealthy: Option<String>,
    /// The key id in its own Status; KMS v2 only.
    pub reports: Option<String>,
    /// The key id that the API server of this host saw last.
    pub seen: Option<String>,
    /// Key ids under which it was seen to unwrap something; KMS v2 only.
    pub unwraps: BTreeSet<String>,
    /// Something that every other host's plugin wrapped was unwrapped here.
    pub unwraps_others: bool,
    /// Evidence that its KMS can be reached only through the cluster that it protects.
    pub behind_cluster: Option<String>,
}

/// One resource in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// `secrets`, `configmaps`.
    pub resource: String,
    /// What is stored.
    pub inventory: Inventory,
    /// How far re-encryption is. A pass of an earlier run that had refusals is left out, so that it is tried again.
    pub pass: Pass,
    /// The writers of the newest pass that ended with nothing found and nothing refused. None as soon as a later round has to
    /// rewrite something.
    pub last_clean: Option<Vec<Writing>>,
}

/// What is stored of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Inventory {
    /// Nobody looked yet.
    NotTaken,
    /// There is no way to etcd. Then only a second pass that finds nothing to rewrite says what is stored.
    NoAccess {
        /// Why not.
        reason: String,
    },
    /// Counted.
    Counted {
        /// etcd's revision when the scan began.
        revision: i64,
        /// [`Observed::writers`] before the scan began.
        began_with: Vec<Writing>,
        /// What was found.
        counts: Vec<Count>,
        /// Values that no API server can read.
        malformed: u64,
    },
}

/// So many objects are stored in this way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The way.
    pub stored_as: StoredAs,
    /// How many.
    pub objects: u64,
}

/// How far the re-encryption of one resource is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Pass {
    /// Not begun.
    NotRun,
    /// Interrupted.
    Partial {
        /// [`Observed::writers`] before it began.
        began_with: Vec<Writing>,
    },
    /// Went through everything, once or more often.
    Done {
        /// [`Observed::writers`] before it began.
        began_with: Vec<Writing>,
        /// How often with these writers. A first round can miss objects, when its list expires: one is not enough.
        rounds: u32,
        /// Revision when the last round ended: an older inventory says nothing about it.
        ended_revision: i64,
        /// How many the last round had to rewrite.
        last_found: u64,
        /// Objects that could not be rewritten in the last round: a webhook or a validation refused.
        refused: u64,
    },
}

/// An object written through one API server, read in etcd and through all others, and deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Through which server.
    pub writer: Writing,
    /// Who tried to read it.
    pub readings: Vec<Reading>,
}

/// How one API server writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Writing {
    /// The server.
    pub server: String,
    /// Its epoch then.
    pub epoch: String,
    /// What was found in etcd; without access to etcd, what its metrics say.
    pub stored_as: StoredAs,
}

/// One API server that tried to read a canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The server.
    pub server: String,
    /// Its epoch then.
    pub epoch: String,
    /// None: it read it. Otherwise what it said.
    pub failed: Option<String>,
}

impl Observed {
    /// Who is known to write how, by canaries that are not older than the server's last start or reload. A scan or a pass
    /// keeps this list from before it began: while it stays the same, nothing was written in another way since.
    pub fn writers(&self) -> Vec<Writing> {
        let mut writers: Vec<Writing> =
            self.servers.iter().filter_map(|it| self.canary(it)).map(|it| it.writer.clone()).collect();
        writers.sort();
        writers
    }

    /// The newest canary of `server`, if that has not started or reloaded since.
    pub(super) fn canary(&self, server: &Server) -> Option<&Canary> {
        let epoch = server.epoch.as_ref()?;
        self.canaries.iter().rev().find(|it| it.writer.server == server.name && it.writer.epoch == *epoch)
    }
}
