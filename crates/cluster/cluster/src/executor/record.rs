//! What a rollout remembers beyond its process: where it goes, and what was seen on the way that cannot be seen again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keystead_model::ErrorClass;
use keystead_runtime::whole_file::{self, Readers};
use serde::{Deserialize, Serialize};

use super::driver_lease::LeaseError;
use crate::provider_order::KmsPlugin;
use crate::rollout::{Configuration, Goal, Pass, Provider, Writing};

/// Written in front of the record, so that a later version knows it.
const FORMAT: u32 = 1;
/// Bytes of the longest record read; a real one has some thousand.
const MAX_LEN: usize = 1 << 20;

/// The record of one cluster's rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// The number of the last driver that held the Lease and wrote it; 0 where none did.
    #[serde(default)]
    pub tenure: u64,
    /// Grows with each change.
    #[serde(default)]
    pub serial: u64,
    /// Uid of the namespace kube-system: a record is of no use to another cluster.
    pub cluster: String,
    /// Where the rollout goes.
    pub goal: Goal,
    /// Whether it is there.
    pub reached: bool,
    /// The resources, as an EncryptionConfiguration names them.
    pub resources: Vec<String>,
    /// Plugins that were named for the goal.
    pub plugins: Vec<KmsPlugin>,
    /// Hosts that are gone for good.
    pub removed: BTreeSet<String>,
    /// What all servers used before the first step: where an undo goes.
    pub before: Option<Configuration>,
    /// [`crate::rollout::Observed::seen_before`].
    pub seen_before: BTreeSet<Provider>,
    /// [`crate::rollout::Observed::written_since`].
    pub written_since: BTreeSet<Provider>,
    /// By resource.
    pub passes: BTreeMap<String, PassRecord>,
    /// By server.
    pub servers: BTreeMap<String, ServerRecord>,
    /// A key version that is made for a rotation, until the goal is reached.
    #[serde(default)]
    pub new_version: Option<NewVersion>,
}

/// A key version that is made for a rotation. It is written down before the version is made, so that whoever comes after a crash does not
/// make a second one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewVersion {
    /// The key, as the operator names it: a key file or a resource name.
    pub key: String,
    /// The highest version number before: every version above it was made for this rotation.
    pub after: u64,
    /// The key id of the new version, once a plugin reports it.
    pub key_id: Option<String>,
}

/// How far the re-encryption of one resource is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassRecord {
    /// The newest pass.
    pub pass: Pass,
    /// [`crate::rollout::Stored::last_clean`].
    pub last_clean: Option<Vec<Writing>>,
}

/// What one API server was last known to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// Its address, for when its host does not answer.
    pub address: String,
    /// The process that used it; none ran when it was last looked at.
    pub process: Option<String>,
    /// Digest of its EncryptionConfiguration then.
    pub configuration: Option<String>,
    /// What that was.
    pub loaded: Option<Configuration>,
    /// What was written for it since.
    pub written: Vec<Configuration>,
}

/// Why there is no record, or why it is not kept.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not where other hosts find it, or another driver goes on.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Another process works with it.
    #[error("another rollout is under way: {} is locked", .0.display())]
    Locked(PathBuf),
    /// The file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} is no record of a rollout, or one of a newer version: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is about another cluster.
    #[error("{} is the record of another cluster: {found}, and this one is {wanted}", path.display())]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The cluster of the record.
        found: String,
        /// The cluster that answers.
        wanted: String,
    },
}

impl RecordError {
    /// Whether asking again may help.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Lease(error) if error.is_away())
    }

    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Lease(error) => error.class(),
            Self::Locked(_) | Self::Io { .. } => ErrorClass::FailedPrecondition,
            Self::Malformed { .. } | Self::OtherCluster { .. } => ErrorClass::Invalid,
        }
    }
}

/// The file of a record. While it is open, no other process opens it.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    lock: File,
}

impl Record {
    /// A rollout that begins.
    pub fn new(cluster: String, goal: Goal, resources: Vec<String>, plugins: Vec<KmsPlugin>) -> Self {
        Self {
            format: FORMAT,
            tenure: 0,
            serial: 0,
            cluster,
            goal,
            reached: false,
            resources,
            plugins,
            removed: BTreeSet::new(),
            before: None,
            seen_before: BTreeSet::new(),
            written_since: BTreeSet::new(),
            passes: BTreeMap::new(),
            servers: BTreeMap::new(),
            new_version: None,
        }
    }

    /// The same cluster on its way to another goal: what was seen is kept.
    pub fn turn(&mut self, goal: Goal, resources: Vec<String>, plugins: Vec<KmsPlugin>) {
        if self.reached {
            self.before = None;
        }
        if !matches!(goal, Goal::Rotate { .. }) {
            self.new_version = None;
        }
        for plugin in plugins {
            self.plugins.retain(|it| it.provider != plugin.provider);
            self.plugins.push(plugin);
        }
        (self.goal, self.resources, self.reached) = (goal, resources, false);
        self.try_again();
    }

    /// Of two records of one cluster the one with the higher version is the newer one. A driver that was overtaken may have counted on by
    /// itself, so its number counts first.
    pub fn version(&self) -> (u64, u64) {
        (self.tenure, self.serial)
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match record.format {
            FORMAT => Ok(record),
            other => Err(format!("its format is {other}, and this program knows {FORMAT}")),
        }
    }

    /// Gives the hosts their present names: each driver has its own, and the address of an API server is what stays. `hosts` are names and
    /// addresses.
    pub(super) fn rename(&mut self, hosts: &[(String, String)]) {
        let mut new_names: BTreeMap<String, String> = BTreeMap::new();
        for (name, address) in hosts {
            if let Some((old, _)) = self.servers.iter().find(|(_, it)| it.address == *address) {
                new_names.insert(old.clone(), name.clone());
            }
        }
        let is_taken = |name: &String| new_names.iter().any(|(old, new)| new == name && old != name);
        self.servers = std::mem::take(&mut self.servers)
            .into_iter()
            .filter_map(|(old, server)| match new_names.get(&old) {
                Some(new) => Some((new.clone(), server)),
                None => (!is_taken(&old)).then_some((old, server)),
            })
            .collect();
        let rename = |writings: &mut Vec<Writing>| {
            for writing in writings {
                if let Some(new) = new_names.get(&writing.server) {
                    writing.server.clone_from(new);
                }
            }
        };
        for pass in self.passes.values_mut() {
            match &mut pass.pass {
                Pass::NotRun => {}
                Pass::Partial { began_with } | Pass::Done { began_with, .. } => rename(began_with),
            }
            pass.last_clean.iter_mut().for_each(rename);
        }
    }

    /// What was refused in an earlier run is tried again.
    pub fn try_again(&mut self) {
        for pass in self.passes.values_mut() {
            if matches!(pass.pass, Pass::Done { refused: 1.., .. }) {
                pass.pass = Pass::NotRun;
            }
        }
    }
}

impl RecordFile {
    /// Opens the record of this cluster, if there is one.
    ///
    /// # Errors
    ///
    /// Another process has it open, it is about another cluster, or it cannot be read.
    pub fn open(path: &Path, cluster: &str) -> Result<(Self, Option<Record>), RecordError> {
        let lock = path.with_extension("lock");
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| RecordError::Io { action, path, source }
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
        let file = file.map_err(io("open", &lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RecordError::Locked(lock)),
            Err(TryLockError::Error(source)) => return Err(io("lock", &lock)(source)),
        }
        let record = read(path)?;
        if let Some(record) = record.as_ref().filter(|it| it.cluster != cluster) {
            return Err(RecordError::OtherCluster {
                path: path.to_owned(),
                found: record.cluster.clone(),
                wanted: cluster.to_owned(),
            });
        }
        Ok((Self { path: path.to_owned(), lock: file }, record))
    }

    /// Who has it open, for a Lease: host, device and file of the lock. Another process of the same name has ended, or it would be locked.
    ///
    /// # Errors
    ///
    /// The file system does not say.
    pub fn holder(&self, host: &str) -> Result<String, RecordError> {
        let found = self.lock.metadata();
        let found =
            found.map_err(|source| RecordError::Io { action: "look at", path: self.path.clone(), source })?;
        Ok(format!("{host}_{:x}-{:x}", found.dev(), found.ino()))
    }

    /// Writes it: after a power cut the old one or the new one is there.
    pub fn save(&self, record: &Record) -> Result<(), RecordError> {
        let io = |source| RecordError::Io { action: "write", path: self.path.clone(), source };
        let text = serde_json::to_vec_pretty(record).map_err(|error| io(error.into()))?;
        whole_file::replace(&self.path, &text, Readers::Owner).map_err(io)
    }
}

/// The record in a file, without opening it for a rollout; none if there is no file.
pub fn read(path: &Path) -> Result<Option<Record>, RecordError> {
    let malformed = |reason: String| RecordError::Malformed { path: path.to_owned(), reason };
    let bytes = match whole_file::read(path, Readers::Owner, MAX_LEN) {
        Ok((bytes, _)) => bytes,
        Err(whole_file::FileError::Missing(_)) => return Ok(None),
        Err(whole_file::FileError::Io { source, .. }) => {
            return Err(RecordError::Io { action: "read", path: path.to_owned(), source });
        }
        Err(error) => return Err(malformed(error.to_string())),
    };
    Record::parse(&bytes).map(Some).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::{Record, ServerRecord};
    use crate::rollout::{Goal, Pass, Writing};

    /// What one driver knows under its names the next one knows under its own.
    #[test]
    fn hosts_are_known_by_their_addresses() {
        let server = |address: &str, process: &str| ServerRecord {
            address: address.to_owned(),
            process: Some(process.to_owned()),
            configuration: None,
            loaded: None,
            written: Vec::new(),
        };
        let mut record = Record::new("uid".to_owned(), Goal::Disable, Vec::new(), Vec::new());
        let known = [
            ("a", server("https://1", "p1")),
            ("root@b", server("https://2", "p2")),
            ("c", server("https://3", "p3")),
        ];
        record.servers = known.into_iter().map(|(name, it)| (name.to_owned(), it)).collect();
        let writing = Writing {
            server: "root@b".to_owned(),
            epoch: "1".to_owned(),
            stored_as: crate::rollout::StoredAs {
                provider: crate::rollout::Provider::Identity,
                key_id: None,
            },
        };
        let pass = super::PassRecord {
            pass: Pass::Partial { began_with: vec![writing.clone()] },
            last_clean: Some(vec![writing]),
        };
        record.passes.insert("secrets".to_owned(), pass);
        // The names of two were exchanged, and c has another address now.
        let hosts = [("root@b", "https://1"), ("b", "https://2"), ("c", "https://4")];
        record.rename(&hosts.map(|(name, address)| (name.to_owned(), address.to_owned())));
        let process = |name: &str| record.servers.get(name).and_then(|it| it.process.as_deref());
        assert_eq!((process("root@b"), process("b"), process("c")), (Some("p1"), Some("p2"), Some("p3")));
        assert_eq!(record.servers.len(), 3);
        let pass = record.passes.get("secrets").expect("it is there");
        let Pass::Partial { began_with } = &pass.pass else { panic!("{pass:?}") };
        assert_eq!(began_with.first().map(|it| it.server.as_str()), Some("b"));
        assert_eq!(
            pass.last_clean.as_ref().and_then(|it| it.first()).map(|it| it.server.as_str()),
            Some("b")
        );
    }
}
