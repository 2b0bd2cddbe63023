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
use keystead_model::ErrorChain;
use keystead_runtime::Failure;
use tokio_util::sync::CancellationToken;

use cluster_directory::{ClusterDirectory, Wanted, make_private};

/// How often is looked at what there is to do.
const LOOK: Duration = Duration::from_secs(1);
/// A cluster whose process ended is started again after this.
const START_AGAIN_AFTER: Duration = Duration::from_secs(10);
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

/// Those of all clusters that were ready once, by the id of the cluster.
pub(crate) type LocalEndpoints = Arc<RwLock<HashMap<String, LocalEndpoint>>>;

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
    endpoints: LocalEndpoints,
    processes: Mutex<Processes>,
}

#[derive(Default)]
struct Processes {
    /// Those that were started here, and when. A process that has ended is there until it is asked after.
    started: HashMap<String, (Child, Instant)>,
    /// The ids of clusters that were looked at since this server started. What somebody stops after that stays stopped.
    seen: HashSet<String>,
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
        endpoints: LocalEndpoints,
    ) -> Result<Arc<Self>, Failure> {
        let keystead = settings.check()?;
        let settings = LocalClustersSettings {
            directory: absolute(&settings.directory)?,
            programs: absolute(&settings.programs)?,
        };
        make_private(&settings.directory).map_err(unusable(&settings.directory))?;
        let processes = Mutex::default();
        Ok(Arc::new(Self { settings, keystead, keyservice, server, authority_pem, endpoints, processes }))
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
        for cluster in &clusters {
            let directory = self.directory(&cluster.id);
            for node in cluster.absent.iter().filter(|node| directory.needs_token(node)) {
                let invited =
                    self.keyservice.invite_local_host(&cluster.name, node).await.map_err(in_words)?;
                let written = directory.write_token(node, invited.secret.expose());
                written.map_err(|error| format!("a host of {} gets no token: {error}", cluster.name))?;
            }
        }
        let (this, todo) = (Arc::clone(self), ToDo { clusters, deleted });
        let looked = tokio::task::spawn_blocking(move || this.look_at_files(&todo)).await;
        let (gone, outcome) = looked.map_err(|error| error.to_string())?;
        for id in gone {
            self.keyservice.forget_local_cluster(&id).await.map_err(in_words)?;
        }
        outcome
    }

    /// Starts what is to run and does not, and removes what was deleted. The answer has the ids of those of which nothing is left.
    fn look_at_files(&self, todo: &ToDo) -> (Vec<String>, Result<(), String>) {
        let mut outcome = Ok(());
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        // A process that has ended is waited for, so that nothing is left of it.
        processes.started.retain(|_, (child, at)| {
            let has_ended = matches!(child.try_wait(), Ok(Some(_)));
            !has_ended || at.elapsed() < START_AGAIN_AFTER
        });
        for cluster in &todo.clusters {
            if let Err(error) = self.run(cluster, &mut processes) {
                outcome =
                    Err(format!("local cluster {} cannot be started: {}", cluster.name, ErrorChain(&error)));
            }
        }
        let mut gone = Vec::new();
        for id in &todo.deleted {
            match self.directory(id).remove() {
                Ok(true) => gone.push(id.clone()),
                Ok(false) => {}
                Err(error) => {
                    outcome = Err(format!("what is left of a local cluster cannot be removed: {error}"))
                }
            }
        }
        let endpoint = |it: &LocalCluster| Some((it.id.clone(), self.directory(&it.id).endpoint()?));
        let endpoints = todo.clusters.iter().filter_map(endpoint).collect();
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = endpoints;
        (gone, outcome)
    }

    fn run(&self, cluster: &LocalCluster, processes: &mut Processes) -> io::Result<()> {
        let directory = self.directory(&cluster.id);
        let is_new = !processes.seen.contains(&cluster.id);
        let runs = processes.started.contains_key(&cluster.id) || directory.is_running()?;
        // One that runs since an earlier server may not know where this one is.
        if is_new || !runs {
            let wanted = Wanted {
                cluster: cluster.name.to_string(),
                api_servers: cluster.api_servers,
                programs: &self.settings.programs,
                server: &self.server,
            };
            directory.write(&wanted, self.authority_pem.as_deref())?;
            processes.seen.insert(cluster.id.clone());
        }
        if runs || !is_new && directory.is_stopped() {
            return Ok(());
        }
        let child = directory.start(&self.keystead)?;
        tracing::info!(cluster = %cluster.name, "local cluster started");
        processes.started.insert(cluster.id.clone(), (child, Instant::now()));
        Ok(())
    }

    fn directory(&self, id: &str) -> ClusterDirectory {
        ClusterDirectory::of(&self.settings.directory, id)
    }
}
