//! Clusters that this server runs, for trying and for tests: each is a process of its own (`keystead local-clusters run`), which starts
//! etcd, API servers and agents. The agents do what agents do anywhere. Here is only what starts those processes and says how the clusters
//! are reached.

mod cluster_directory;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use keystead_keyservice::{KeyService, KmsError, LocalCluster};
use keystead_model::{ClusterName, ErrorChain};
use keystead_runtime::Failure;
use tokio_util::sync::CancellationToken;

use cluster_directory::{ClusterDirectory, Wanted, make_private};

/// How often is looked at what there is to do.
const LOOK: Duration = Duration::from_secs(1);
/// A cluster whose process ended is started again after this, and each time after twice as long.
const START_AGAIN_AFTER: Duration = Duration::from_secs(5);
const START_AGAIN_MAX: Duration = Duration::from_secs(300);
/// A host is invited once in this time at most.
const INVITED_AFTER: Duration = Duration::from_secs(60);
/// What runs as long as this did not end at once.
const RUNS: Duration = Duration::from_secs(20);
/// A plugin's socket is `/ID/host-0/run/keystead-0123456789/kms.sock` in it, and `sun_path` has 108 bytes, the last of them NUL.
const MAX_DIRECTORY_LEN: usize = 50;
/// What a local cluster is made of, besides `keystead`.
const PROGRAMS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// Where local clusters are, and what runs in them.
#[derive(Clone, Debug)]
pub struct LocalClustersSettings {
    /// Each has a directory in it.
    pub directory: PathBuf,
    /// `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`.
    pub programs: PathBuf,
}

/// How the API server of a local cluster is reached.
#[derive(Clone, Debug)]
pub(crate) struct LocalEndpoint {
    /// Such as `127.0.0.1:34567`.
    pub(crate) endpoint: String,
    pub(crate) authority_pem: String,
    /// Such as `1.37.2`.
    pub(crate) version: String,
}

/// What is seen of a local cluster.
#[derive(Clone, Debug)]
pub(crate) struct LocalState {
    pub(crate) name: ClusterName,
    /// None: it was never ready.
    pub(crate) endpoint: Option<LocalEndpoint>,
    /// Why it does not run; none: it does.
    pub(crate) trouble: Option<String>,
}

/// Those of all local clusters, by the id of the cluster.
pub(crate) type LocalStates = Arc<RwLock<HashMap<String, LocalState>>>;

/// Runs them.
pub(crate) struct LocalClusters {
    settings: LocalClustersSettings,
    /// The program that runs one.
    keystead: PathBuf,
    keyservice: Arc<KeyService>,
    /// Where this server is, for agents and plugins.
    server: String,
    /// What this server is verified with; none: the system's authorities.
    authority_pem: Option<String>,
    states: LocalStates,
    processes: Mutex<Processes>,
    /// Hosts, and when each was invited last.
    invited: Mutex<HashMap<String, Instant>>,
}

#[derive(Default)]
struct Processes {
    /// The last one of each cluster that was started here.
    started: HashMap<String, Started>,
    /// The ids of clusters that were looked at since this server started. What somebody stops after that stays stopped.
    seen: HashSet<String>,
}

/// A process that runs a cluster, or ran it.
struct Started {
    child: Child,
    at: Instant,
    has_ended: bool,
    /// How often in a row it ended as soon as it was started.
    failures: u32,
    /// Why it did, the last time.
    trouble: Option<String>,
}

/// What was read of the records, for the look at the files.
struct ToDo {
    clusters: Vec<LocalCluster>,
    deleted: Vec<String>,
}

impl LocalClustersSettings {
    /// Refuses what could not run a cluster. The answer is the program that runs one.
    pub(crate) fn check(&self) -> Result<PathBuf, Failure> {
        let directory = absolute(&self.directory)?;
        if !directory.to_str().is_some_and(|it| it.chars().all(is_allowed)) {
            let path = directory.display();
            let text = format!("{path} has letters that flags and files of a cluster cannot hold");
            let hint = "choose a directory of letters, digits, `/`, `-`, `_` and `.` for --local-clusters";
            return Err(Failure::new(text).usage().hint(hint.to_owned()));
        }
        let len = directory.as_os_str().len();
        if len > MAX_DIRECTORY_LEN {
            let path = directory.display();
            let text =
                format!("{path} has {len} bytes, and paths of sockets in local clusters would be too long");
            let hint =
                format!("choose a directory with {MAX_DIRECTORY_LEN} bytes at most for --local-clusters");
            return Err(Failure::new(text).usage().hint(hint));
        }
        let programs = PROGRAMS.iter().map(|name| self.programs.join(name));
        if let Some(missing) = programs.into_iter().find(|it| !it.is_file()) {
            return Err(Failure::new(format!("{} is not there", missing.display())).hint(
                "local clusters need etcd, kube-apiserver, kube-controller-manager and kube-scheduler in the directory that \
                 --kubernetes-programs names: Kubernetes' and etcd's releases have them"
                    .to_owned(),
            ));
        }
        keystead().ok_or_else(|| {
            Failure::new("local clusters are run by the program `keystead`, which is neither beside this one nor in PATH")
                .hint("install it, or start the server with `keystead server run`".to_owned())
        })
    }
}

/// A kubeconfig's path is split at colons, for one.
fn is_allowed(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "/-_.".contains(letter)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(unusable(path))
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure::new(format!("cannot use {path} for local clusters: {error}"))
}

/// This program, if it is the command line; otherwise the one beside it, or in `PATH`.
fn keystead() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().map(|it| it.with_file_name("keystead"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|it| it.join("keystead"));
    beside.into_iter().chain(in_path).find(|it| it.is_absolute() && it.is_file())
}

impl LocalClusters {
    pub(crate) fn open(
        settings: &LocalClustersSettings,
        keyservice: Arc<KeyService>,
        server: String,
        authority_pem: Option<String>,
        states: LocalStates,
    ) -> Result<Arc<Self>, Failure> {
        let keystead = settings.check()?;
        let settings = LocalClustersSettings {
            directory: absolute(&settings.directory)?,
            programs: absolute(&settings.programs)?,
        };
        make_private(&settings.directory).map_err(unusable(&settings.directory))?;
        let (processes, invited) = (Mutex::default(), Mutex::default());
        let clusters =
            Self { settings, keystead, keyservice, server, authority_pem, states, processes, invited };
        Ok(Arc::new(clusters))
    }

    /// Until the server stops; the clusters go on.
    pub(crate) async fn keep(self: Arc<Self>, stopping: CancellationToken) {
        let mut trouble = None;
        loop {
            let looked = self.look().await;
            let new = looked.err();
            match &new {
                // Told once, until it is another one.
                Some(text) if new != trouble => tracing::error!(problem = text, "local clusters"),
                _ => {}
            }
            trouble = new;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    async fn look(self: &Arc<Self>) -> Result<(), String> {
        let in_words = |error: KmsError| error.to_string();
        let clusters = self.keyservice.local_clusters().await.map_err(in_words)?;
        let deleted = self.keyservice.deleted_local_clusters().await.map_err(in_words)?;
        let mut outcome = Ok(());
        for cluster in &clusters {
            for node in &cluster.absent {
                // What is wrong with one is not for the others to suffer.
                outcome = self.invite(cluster, node).await.and(outcome);
            }
        }
        let (this, todo) = (Arc::clone(self), ToDo { clusters, deleted });
        let looked = tokio::task::spawn_blocking(move || this.look_at_files(&todo)).await;
        let (gone, removed) = looked.map_err(|error| error.to_string())?;
        for id in gone {
            self.keyservice.forget_local_cluster(&id).await.map_err(in_words)?;
        }
        outcome.and(removed)
    }

    /// Leaves a host that has not joined a token, if it has none that still counts for long.
    async fn invite(&self, cluster: &LocalCluster, node: &str) -> Result<(), String> {
        let directory = self.directory(&cluster.id);
        if is_lost(cluster, &directory) || !directory.needs_token(node) {
            return Ok(());
        }
        // Each token is a record, also where none can be written into its file.
        let host = format!("{}/{node}", cluster.name);
        {
            let mut invited = self.invited.lock().unwrap_or_else(PoisonError::into_inner);
            invited.retain(|_, at| at.elapsed() < INVITED_AFTER);
            if invited.contains_key(&host) {
                return Ok(());
            }
            invited.insert(host.clone(), Instant::now());
        }
        let invited = self.keyservice.invite_local_host(&cluster.name, node).await;
        let invited = invited.map_err(|error| format!("{host} is not invited: {error}"))?;
        let written = directory.write_token(node, invited.secret.expose());
        written.map_err(|error| format!("{host} gets no token: {error}"))
    }

    /// Starts what is to run and does not, and removes what was deleted. The answer has the ids of those of which nothing is left.
    fn look_at_files(&self, todo: &ToDo) -> (Vec<String>, Result<(), String>) {
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, started) in &mut processes.started {
            started.look(&self.directory(id));
        }
        let mut states = HashMap::new();
        for cluster in &todo.clusters {
            let directory = self.directory(&cluster.id);
            let trouble = match self.run(cluster, &directory, &mut processes) {
                Ok(trouble) => trouble,
                Err(error) => Some(format!("the cluster cannot be started: {}", ErrorChain(&error))),
            };
            let state = LocalState { name: cluster.name.clone(), endpoint: directory.endpoint(), trouble };
            states.insert(cluster.id.clone(), state);
        }
        let (mut gone, mut outcome) = (Vec::new(), Ok(()));
        for id in &todo.deleted {
            match self.directory(id).remove() {
                Ok(true) => gone.push(id.clone()),
                Ok(false) => {}
                Err(error) => {
                    outcome = Err(format!("what is left of a local cluster cannot be removed: {error}"));
                }
            }
        }
        // What has not ended yet is waited for, whatever became of its cluster.
        processes.started.retain(|id, it| !it.has_ended || states.contains_key(id));
        processes.seen.retain(|id| states.contains_key(id));
        let mut before = self.states.write().unwrap_or_else(PoisonError::into_inner);
        for (id, state) in &states {
            let told = before.get(id).and_then(|it| it.trouble.as_ref());
            if let Some(problem) = state.trouble.as_ref().filter(|it| told != Some(it)) {
                tracing::error!(cluster = %state.name, problem, "local cluster does not run");
            }
        }
        *before = states;
        (gone, outcome)
    }

    /// The answer is why it does not run.
    fn run(
        &self,
        cluster: &LocalCluster,
        directory: &ClusterDirectory,
        processes: &mut Processes,
    ) -> io::Result<Option<String>> {
        let is_new = !processes.seen.contains(&cluster.id);
        let last = processes.started.get(&cluster.id);
        if is_lost(cluster, directory) {
            let text = "the cluster's directory is gone, and with it all that the cluster held: delete the cluster, and make it anew";
            return Ok(Some(text.to_owned()));
        }
        let wanted = Wanted {
            cluster: cluster.name.to_string(),
            api_servers: cluster.api_servers,
            programs: &self.settings.programs,
            server: &self.server,
        };
        if last.is_some_and(|it| !it.has_ended) || directory.is_running()? {
            // One that runs since an earlier server may not know where this one is.
            if is_new {
                directory.write(&wanted, self.authority_pem.as_deref())?;
                processes.seen.insert(cluster.id.clone());
            }
            return Ok(last.and_then(|it| it.trouble.clone()));
        }
        if !is_new && directory.is_stopped() {
            let text = "somebody stopped the cluster, with `keystead local-clusters stop`: it runs again once this server is started anew";
            return Ok(Some(text.to_owned()));
        }
        let (failures, trouble) = last.map(|it| (it.failures, it.trouble.clone())).unwrap_or_default();
        if last.is_some_and(|it| it.at.elapsed() < pause_after(failures)) {
            return Ok(trouble);
        }
        directory.write(&wanted, self.authority_pem.as_deref())?;
        let child = directory.start(&self.keystead)?;
        tracing::info!(cluster = %cluster.name, "local cluster started");
        processes.seen.insert(cluster.id.clone());
        let started =
            Started { child, at: Instant::now(), has_ended: false, failures, trouble: trouble.clone() };
        processes.started.insert(cluster.id.clone(), started);
        Ok(trouble)
    }

    fn directory(&self, id: &str) -> ClusterDirectory {
        ClusterDirectory::of(&self.settings.directory, id)
    }
}

/// Whether it was there, and is not any more. It is not made anew: what it held would be gone without a word.
fn is_lost(cluster: &LocalCluster, directory: &ClusterDirectory) -> bool {
    cluster.absent.len() < usize::from(cluster.api_servers) && !directory.exists()
}

impl Started {
    /// A process that has ended is waited for, so that nothing is left of it.
    fn look(&mut self, directory: &ClusterDirectory) {
        if self.has_ended {
            return;
        }
        let ran = self.at.elapsed();
        match self.child.try_wait() {
            Ok(None) if ran >= RUNS => (self.failures, self.trouble) = (0, None),
            Ok(Some(status)) if !status.success() && ran < RUNS => {
                self.has_ended = true;
                self.failures = self.failures.saturating_add(1);
                self.trouble = Some(format!("its process ended ({status}): {}", directory.last_words()));
            }
            Ok(Some(_)) => self.has_ended = true,
            Ok(None) | Err(_) => {}
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    START_AGAIN_MAX.min(START_AGAIN_AFTER.saturating_mul(1 << failures.min(10)))
}
