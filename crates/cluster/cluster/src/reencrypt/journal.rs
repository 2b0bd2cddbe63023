//! How far a run is, in a file that is replaced as a whole: a run that was killed goes on there.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keystead_runtime::whole_file::{self, FileError, Readers};
use serde::{Deserialize, Serialize};

use super::lock;
use super::plan::{Plan, Request, Step, Via};
use super::tally::Tally;

const FORMAT: u32 = 1;
/// Bytes of the longest file read: four passes over some hundred resources with all names that a tally keeps have 10 MB.
const FILE_MAX: usize = 32 << 20;
/// How often a run saves at most: a page is done many times a second, and what is lost is done again.
const EVERY: Duration = Duration::from_secs(1);

/// The state of a run, in memory and, where a file was named, there.
#[derive(Debug)]
pub struct Journal {
    file: Option<PathBuf>,
    pub(super) record: Record,
    resumed: bool,
    /// What is there now. The steps of the record may be of another day.
    planned: Vec<Step>,
    saved: Option<Instant>,
    /// Open and locked as long as this run is the one that writes the file.
    lock: Option<File>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    cluster: String,
    server: String,
    request: Request,
    pub(super) steps: Vec<Step>,
    /// 1 for the first.
    pub(super) pass: u32,
    /// Index of the step that is under way.
    pub(super) step: usize,
    /// Where its list goes on; empty at its start.
    pub(super) continue_token: String,
    /// Counts of each pass by resource.
    pub(super) passes: Vec<BTreeMap<String, Tally>>,
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("cannot use the state file")]
    Read(#[from] FileError),
    /// It cannot be written.
    #[error("cannot write the state file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another run has it.
    #[error("another re-encryption is under way with the state file {}", .0.display())]
    InUse(PathBuf),
    /// It is not one.
    #[error("{} is no state file of a re-encryption of this version", .0.display())]
    Damaged(PathBuf),
    /// It is of another cluster.
    #[error(
        "{} is the state of a re-encryption of another cluster: {server} (kube-system has uid {cluster})",
        path.display()
    )]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The cluster it is of.
        cluster: String,
        /// How that was reached.
        server: String,
    },
    /// It is of another request.
    #[error("{} is the state of a re-encryption that was not finished, with other options: {options}", path.display())]
    OtherRequest {
        /// The file.
        path: PathBuf,
        /// Those options, as on the command line.
        options: String,
    },
}

impl JournalError {
    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.hint(),
            Self::Write { .. } => Some("name another file with --state, or use --no-state".to_owned()),
            Self::InUse(_) => Some(
                "wait until it has ended, or stop it: the same command then goes on where it was".to_owned(),
            ),
            Self::Damaged(path) => {
                Some(format!("remove {}, or use --no-state: the run starts at the beginning", path.display()))
            }
            Self::OtherCluster { .. } => {
                Some("check --kubeconfig and --context, or name another file with --state".to_owned())
            }
            Self::OtherRequest { path, .. } => Some(format!(
                "finish that one with the same options, or remove {} and start at the beginning",
                path.display()
            )),
        }
    }
}

impl Journal {
    /// Reads the state of a run that was not finished, or begins one. Without a file nothing is kept. Writes nothing yet.
    ///
    /// # Errors
    ///
    /// Where there is a file and it is of another cluster or request, or cannot be read.
    pub fn open(file: Option<&Path>, plan: &Plan) -> Result<Self, JournalError> {
        let mut journal = Self {
            file: file.map(Path::to_owned),
            record: Record {
                format: FORMAT,
                cluster: plan.cluster.clone(),
                server: plan.server.clone(),
                request: plan.request.clone(),
                steps: plan.steps.clone(),
                pass: 1,
                step: 0,
                continue_token: String::new(),
                passes: vec![BTreeMap::new()],
            },
            resumed: false,
            planned: plan.steps.clone(),
            saved: None,
            lock: None,
        };
        let Some(path) = file else { return Ok(journal) };
        let bytes = match whole_file::read(path, Readers::Owner, FILE_MAX) {
            Ok((bytes, _)) => bytes,
            Err(FileError::Missing(_)) => return Ok(journal),
            Err(error) => return Err(error.into()),
        };
        let damaged = || JournalError::Damaged(path.to_owned());
        let record: Record = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        let whole = record.format == FORMAT
            && record.pass >= 1
            && record.passes.len() == record.pass as usize
            && record.step < record.steps.len();
        if !whole {
            return Err(damaged());
        }
        if record.cluster != plan.cluster {
            let Record { cluster, server, .. } = record;
            return Err(JournalError::OtherCluster { path: path.to_owned(), cluster, server });
        }
        if record.request != plan.request {
            let options = record.request.to_string();
            return Err(JournalError::OtherRequest { path: path.to_owned(), options });
        }
        (journal.record, journal.resumed) = (record, true);
        Ok(journal)
    }

    /// The file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What was done before, where the run goes on: the pass, and the objects of it that are done.
    pub fn resumed(&self) -> Option<(u32, u64)> {
        let done = self.record.passes.last().map_or(0, |pass| pass.values().map(Tally::objects).sum());
        self.resumed.then_some((self.record.pass, done))
    }

    /// Begins to write: takes the file for this run alone, until it ends in whatever way, and reads it again, because another run may
    /// have written it meanwhile.
    pub(super) fn take(&mut self, plan: &Plan) -> Result<(), JournalError> {
        let Some(path) = self.file.clone() else { return Ok(()) };
        if let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            created.map_err(|source| JournalError::Write { path: path.clone(), source })?;
        }
        let beside = lock::path(&path);
        let lock = match lock::take(&beside) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(JournalError::InUse(path)),
            Err(source) => return Err(JournalError::Write { path: beside, source }),
        };
        *self = Self { lock: Some(lock), ..Self::open(Some(&path), plan)? };
        self.save()
    }

    /// Whether this run may write the file.
    pub(super) fn is_taken(&self) -> bool {
        self.file.is_none() || self.lock.is_some()
    }

    /// One more page of the present step.
    pub(super) fn page(&mut self, tally: Tally, continue_token: &str) -> Result<(), JournalError> {
        let name = self.record.steps.get(self.record.step).map(|step| step.resource.full_name());
        if let (Some(name), Some(pass)) = (name, self.record.passes.last_mut()) {
            pass.entry(name).or_default().merge(tally);
        }
        // Without a token the step is done, and the next one is noted at once.
        if continue_token.is_empty() {
            return Ok(());
        }
        continue_token.clone_into(&mut self.record.continue_token);
        self.save_now_and_then()
    }

    /// The present step is done; whether another one follows in this pass.
    pub(super) fn next_step(&mut self) -> Result<bool, JournalError> {
        self.record.continue_token.clear();
        if self.record.step + 1 == self.record.steps.len() {
            return Ok(false);
        }
        self.record.step += 1;
        self.save_now_and_then()?;
        Ok(true)
    }

    /// Whether the pass that is under way begins with what this run does. Of one that does not, nobody knows when and under which key
    /// its first part was done.
    pub(super) fn begins_pass(&self) -> bool {
        let Record { steps, step, continue_token, passes, .. } = &self.record;
        !self.resumed
            || *step == 0
                && continue_token.is_empty()
                && *steps == self.planned
                && passes.last().is_some_and(BTreeMap::is_empty)
    }

    /// The first pass was that of the in-tree migrations, over everything.
    pub(super) fn migrated(&mut self, resources: BTreeMap<String, Tally>) {
        self.record.passes = vec![resources];
    }

    /// Begins a pass over what is there by the plan of this run.
    pub(super) fn next_pass(&mut self) -> Result<(), JournalError> {
        self.record.pass += 1;
        self.record.step = 0;
        self.record.steps.clone_from(&self.planned);
        self.record.continue_token.clear();
        self.record.passes.push(BTreeMap::new());
        self.save()
    }

    fn save_now_and_then(&mut self) -> Result<(), JournalError> {
        match self.saved {
            Some(saved) if saved.elapsed() < EVERY => Ok(()),
            _ => self.save(),
        }
    }

    /// Makes it outlive a crash. Some milliseconds, at most once a second, in which answers wait.
    pub(super) fn save(&mut self) -> Result<(), JournalError> {
        let Some(path) = &self.file else { return Ok(()) };
        let failed = |source| JournalError::Write { path: path.clone(), source };
        let text = serde_json::to_vec(&self.record).map_err(|error| failed(error.into()))?;
        whole_file::replace(path, &text, Readers::Owner).map_err(failed)?;
        self.saved = Some(Instant::now());
        Ok(())
    }

    /// The run is finished: the next one starts at the beginning.
    pub(super) fn remove(&self) -> Result<(), JournalError> {
        let Some(path) = &self.file else { return Ok(()) };
        // The lock last: who finds it gone finds no state either.
        for path in [path, &lock::path(path)] {
            match fs::remove_file(path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(JournalError::Write { path: path.clone(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.resources.join(" "))?;
        for namespace in &self.namespaces {
            write!(f, " --namespace {namespace}")?;
        }
        if self.only_namespaces {
            f.write_str(" --only-namespaces")?;
        }
        if let Some(time) = &self.annotate {
            write!(f, " --annotate {time}")?;
        }
        if self.via == Via::StorageVersionMigration {
            f.write_str(" --via storage-version-migration")?;
        }
        Ok(())
    }
}
