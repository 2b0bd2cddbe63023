//! One cluster, from the first process to the last.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use keystead_runtime::{Failure, termination};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster_file::ClusterFile;
use crate::host::Host;
use crate::kubelet::Kubelet;
use crate::launcher::Launcher;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::ports::Ports;
use crate::report::{Trouble, say};
use crate::{etcd, files, lock, log_limit, pki, ready, service};

/// How often the directory is looked at for what the server wants: three small files.
const LOOK: Duration = Duration::from_millis(200);
const PROGRAMS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// Why it ends.
enum End {
    /// All is left as it is.
    Stop(String),
    /// The directory goes, too.
    Delete,
    /// One of the supervisor's own tasks has panicked, and said why.
    Fault,
}

/// Runs the cluster of a directory until it is told to end: by SIGTERM or SIGINT, or by the file `stop` or `delete`. `keystead` is this program,
/// which agents and plugins are, too. To be called on the main thread.
///
/// # Errors
///
/// Where another supervisor runs it, or what it needs is missing or wrong. What fails later is tried again.
pub fn run(directory: &Path, keystead: PathBuf) -> Result<(), Failure> {
    // Out of the session of whoever starts it, so that it does not end with that. One that leads a group of processes stays.
    rustix::process::setsid().ok();
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let layout = Layout::of(directory)?;
    let cluster = ClusterFile::read(&layout)?;
    let Some(lock) = lock::take(layout.directory())? else {
        return Err(Failure::new(format!(
            "another process runs the cluster of {} already",
            layout.directory().display()
        )));
    };
    let end = match wanted_end(&layout) {
        Some(end) => end,
        None => {
            // One thread, the main one: the kernel kills a child when the thread ends that started it.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
            runtime.block_on(supervise(&layout, &cluster, &lock, Launcher::new(keystead)))?
        }
    };
    let ended = match end {
        End::Fault => Err(Failure::new("the supervisor has a fault; all that it ran is stopped")),
        // Something may have been added while all was stopped.
        End::Stop(why) if !layout.delete().exists() => {
            say(&format!("{why}: {} is stopped", cluster.cluster));
            Ok(())
        }
        _ => {
            say(&format!("{} is deleted", cluster.cluster));
            let removed = std::fs::remove_dir_all(layout.directory());
            removed.map_err(|error| files::failed("remove", layout.directory(), &error))
        }
    };
    drop(lock);
    ended
}

/// What the files in the directory say.
fn wanted_end(layout: &Layout) -> Option<End> {
    if layout.delete().exists() {
        return Some(End::Delete);
    }
    layout.stop().exists().then(|| End::Stop("the file `stop` is there".to_owned()))
}

async fn supervise(
    layout: &Layout,
    cluster: &ClusterFile,
    lock: &Lock,
    launcher: Launcher,
) -> Result<End, Failure> {
    let signal = termination().map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
    let version = version_of(cluster)?;
    let ports = Ports::of(layout, cluster.api_servers)?;
    pki::prepare(layout)?;
    let host = |index: usize| Host {
        index,
        layout: layout.clone(),
        ports: ports.clone(),
        launcher: launcher.clone(),
        version: version.clone(),
    };
    let hosts: Vec<Host> = (0..cluster.api_servers).map(host).collect();
    hosts.iter().try_for_each(Host::prepare)?;
    let etcd = etcd::program(layout, cluster, &ports)?;
    let first = ports.api_server(0)?;
    let administrator =
        std::fs::read_to_string(layout.host(0).path("kubeconfig")).map(zeroize::Zeroizing::new);
    let administrator =
        administrator.map_err(|error| files::failed("read", &layout.host(0).path("kubeconfig"), &error))?;
    files::write(&layout.path("kubeconfig"), &administrator)?;

    say(&format!("runs {} with {} API servers, {version}", cluster.cluster, cluster.api_servers));
    let (server, is_at) = watch::channel(cluster.server.clone());
    let (is_ready, ready) = watch::channel(false);
    let [stop_etcd, stop_pods, stop_agents] = [(); 3].map(|()| CancellationToken::new());
    let logs = std::iter::once(layout.logs()).chain(hosts.iter().map(|it| it.place().path("logs"))).collect();
    let (mut etcds, mut pods, mut agents) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    etcds.spawn(service::keep_running("etcd".to_owned(), launcher.clone(), etcd, stop_etcd.clone()));
    for host in hosts {
        let kubelet = Kubelet::new(host.place(), launcher.clone(), cluster.programs.clone());
        pods.spawn(kubelet.run(stop_pods.clone()));
        agents.spawn(host.run(is_at.clone(), ready.clone(), stop_agents.clone()));
    }

    let end = tokio::select! {
        signal = signal => End::Stop(signal.to_owned()),
        end = watch_directory(layout, cluster, lock, &server) => end,
        () = keep_logs_short(logs) => End::Fault,
        () = ready::tell(layout, first, cluster.api_servers, is_ready) => End::Fault,
        // They end when they are told to.
        _ = etcds.join_next() => End::Fault,
        _ = pods.join_next() => End::Fault,
        _ = agents.join_next() => End::Fault,
    };
    say("stops");
    // Whoever calls another one goes first.
    for (stop, mut tasks) in [(stop_agents, agents), (stop_pods, pods), (stop_etcd, etcds)] {
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    }
    Ok(end)
}

/// Follows the server to another address, until the directory says that it is time to end.
async fn watch_directory(
    layout: &Layout,
    started: &ClusterFile,
    lock: &Lock,
    server: &watch::Sender<String>,
) -> End {
    let mut trouble = Trouble::default();
    loop {
        if let Some(end) = wanted_end(layout) {
            return end;
        }
        if !lock.is_in(layout.directory()) {
            return End::Stop("the directory was removed or replaced".to_owned());
        }
        match ClusterFile::read(layout) {
            Ok(now) => {
                if (now.api_servers, &now.programs) != (started.api_servers, &started.programs) {
                    trouble.say("cluster.json has other programs or another number of API servers: from the next start on");
                }
                server.send_if_modified(|before| {
                    let is_new = *before != now.server;
                    *before = now.server;
                    is_new
                });
            }
            Err(failure) => trouble.say(&failure.to_string()),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn keep_logs_short(directories: Vec<PathBuf>) {
    loop {
        log_limit::cut(&directories);
        tokio::time::sleep(log_limit::LOOK).await;
    }
}

/// The version of the programs, such as `v1.37.2`; all of them are there.
fn version_of(cluster: &ClusterFile) -> Result<String, Failure> {
    for name in PROGRAMS {
        let path = cluster.program(name);
        if !path.is_file() {
            return Err(Failure::new(format!("{} is not there", path.display()))
                .hint("cluster.json names the directory with the programs".to_owned()));
        }
    }
    let path = cluster.program("kube-apiserver");
    let asked = Command::new(&path).arg("--version").env_clear().stdin(Stdio::null()).output();
    let asked = asked.map_err(|error| files::failed("run", &path, &error))?;
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let version = text.trim().strip_prefix("Kubernetes ").filter(|it| it.starts_with('v'));
    version
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("{} does not say its version", path.display())))
}
