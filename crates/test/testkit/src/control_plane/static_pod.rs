//! API servers as a kubelet runs them: by a manifest in a file, and anew when that file changes.
//!
//! The kubelet is played, the API server is real.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::api_server::ApiServer;
use super::port::Port;
use crate::process::Process;

/// How often the manifest is looked at. A real kubelet is told by inotify.
const LOOK: Duration = Duration::from_millis(50);
/// How long a graceful stop may take.
const STOP: Duration = Duration::from_secs(70);

/// What plays the kubelet of one host. [`Self::run`] goes on until it is dropped, which kills the API server.
#[derive(Debug)]
pub struct PlayedKubelet {
    manifest: PathBuf,
    log: PathBuf,
    pid: Arc<AtomicU32>,
    starts: Arc<AtomicU32>,
    _port: Port,
}

/// What is seen of it while it runs.
#[derive(Clone, Debug)]
pub struct StaticPod {
    pid: Arc<AtomicU32>,
    starts: Arc<AtomicU32>,
}

impl StaticPod {
    /// The process of the API server; none while there is none.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|it| *it != 0)
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }
}

impl ApiServer {
    /// Writes a manifest as kubeadm does, with this API server's flags, and gives it to a kubelet that is played. The directories are
    /// those of the host that the manifest mounts. It must not be running.
    pub fn into_static_pod(
        self,
        manifest: &Path,
        directories: &[&Path],
        version: &str,
    ) -> Result<(PlayedKubelet, StaticPod)> {
        let program = self.program().display().to_string();
        let mut text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\n  namespace: kube-system\nspec:\n  containers:\n  - command:\n    - {program}\n"
        );
        for flag in self.flags() {
            text.push_str(&format!("    - {flag}\n"));
        }
        text.push_str(&format!(
            "    image: registry.k8s.io/kube-apiserver:v{version}\n    name: kube-apiserver\n    volumeMounts:\n"
        ));
        for (index, directory) in directories.iter().enumerate() {
            let directory = directory.display();
            text.push_str(&format!("    - mountPath: {directory}\n      name: volume-{index}\n"));
        }
        text.push_str("  hostNetwork: true\n  volumes:\n");
        for (index, directory) in directories.iter().enumerate() {
            let directory = directory.display();
            text.push_str(&format!(
                "  - hostPath:\n      path: {directory}\n      type: DirectoryOrCreate\n    name: volume-{index}\n"
            ));
        }
        fs::write(manifest, text).with_context(|| format!("cannot write {}", manifest.display()))?;
        let (pid, starts) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let pod = StaticPod { pid: Arc::clone(&pid), starts: Arc::clone(&starts) };
        let log = self.log();
        let kubelet =
            PlayedKubelet { manifest: manifest.to_owned(), log, pid, starts, _port: self.into_port() };
        Ok((kubelet, pod))
    }
}

impl PlayedKubelet {
    /// Runs what the manifest says. What ends by itself is started again.
    pub async fn run(self) -> Result<()> {
        let mut running: Option<(String, Process)> = None;
        loop {
            // An edit is a rename: the file is never seen half, and at most away for a moment.
            let wanted = fs::read_to_string(&self.manifest).ok();
            if let Some((text, process)) = &mut running {
                let is_over = tokio::time::timeout(LOOK, process.wait()).await.is_ok();
                let changed = wanted.as_ref() != Some(text);
                if changed && !is_over {
                    process.stop(STOP).await?;
                }
                if changed || is_over {
                    self.pid.store(0, Ordering::Relaxed);
                    running = None;
                }
                continue;
            }
            let Some(wanted) = wanted else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let command = command(&wanted);
            let (program, args) = command.split_first().context("the manifest has no command")?;
            let args: Vec<_> = args.iter().map(Into::into).collect();
            let process = Process::spawn(Path::new(program), &args, &self.log).await?;
            self.pid.store(process.pid(), Ordering::Relaxed);
            self.starts.fetch_add(1, Ordering::Relaxed);
            running = Some((wanted, process));
        }
    }
}

/// The words of the command.
fn command(manifest: &str) -> Vec<String> {
    let after = manifest.lines().skip_while(|it| it.trim() != "- command:").skip(1);
    let items = after.map(str::trim).take_while(|it| it.starts_with("- "));
    items.map(|it| it.trim_start_matches("- ").trim_matches('"').to_owned()).collect()
}
