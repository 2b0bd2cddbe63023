//! The kubelet of one host, as far as static pods go: it runs what the manifests of the host say, and anew when they change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::host::TOKEN_REVIEW;
use crate::launcher::{Launcher, Program};
use crate::layout::HostLayout;
use crate::pod::PodProgram;
use crate::report::{Trouble, say};
use crate::service::{GRACE, GRACE_OF_CONTROL_PLANE, keep_running};

/// How often the manifests are looked at: a few small files.
const LOOK: Duration = Duration::from_millis(200);

/// What runs the pods of a host.
pub(crate) struct Kubelet {
    host: HostLayout,
    launcher: Launcher,
    programs: PathBuf,
    /// By the names of their files.
    pods: BTreeMap<String, Pod>,
    /// Texts that are not run, so that each is named once.
    refused: BTreeMap<String, String>,
    trouble: Trouble,
}

struct Pod {
    is_plugin: bool,
    /// What it was started for: another text is another pod.
    seen: String,
    stop: CancellationToken,
    /// Ends when its program is stopped.
    task: JoinSet<()>,
}

impl Kubelet {
    pub(crate) fn new(host: HostLayout, launcher: Launcher, programs: PathBuf) -> Self {
        let (pods, refused, trouble) = Default::default();
        Self { host, launcher, programs, pods, refused, trouble }
    }

    /// Runs what the manifests say. At the end API servers are stopped before the plugins that they call.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            self.look();
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => break,
            }
        }
        for plugins in [false, true] {
            let these = self.pods.values_mut().filter(|it| it.is_plugin == plugins);
            let these: Vec<&mut Pod> = these.inspect(|it| it.stop.cancel()).collect();
            for pod in these {
                // It has no result, and one that panicked has said so.
                drop(pod.task.join_next().await);
            }
        }
    }

    fn look(&mut self) {
        let wanted = match self.manifests() {
            Ok(wanted) => wanted,
            // Nothing is stopped because a directory could not be read.
            Err(error) => return self.trouble.say(&format!("the manifests of {}: {error}", self.host.name)),
        };
        self.trouble.is_over();
        self.refused.retain(|file, _| wanted.contains_key(file));
        for (file, pod) in &self.pods {
            if wanted.get(file) != Some(&pod.seen) {
                pod.stop.cancel();
            }
        }
        self.pods.retain(|_, pod| pod.task.try_join_next().is_none());
        for (file, text) in wanted {
            if !self.pods.contains_key(&file) {
                self.start(file, text);
            }
        }
    }

    /// The texts of the manifests by their names, each with what else its program reads only at its start.
    fn manifests(&self) -> std::io::Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(self.host.path("manifests"))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Those that begin with a dot are being written.
            if name.starts_with('.') || !name.ends_with(".yaml") {
                continue;
            }
            let mut text = match std::fs::read_to_string(entry.path()) {
                // Removed, or being replaced.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                text => text?,
            };
            if name == "kube-apiserver.yaml" {
                let review = std::fs::read_to_string(self.host.path(TOKEN_REVIEW)).unwrap_or_default();
                // A comment for YAML.
                text.extend(review.lines().map(|line| format!("\n# {line}")));
            }
            found.insert(name, text);
        }
        Ok(found)
    }

    fn start(&mut self, file: String, text: String) {
        let read = match PodProgram::read(&file, &text) {
            Ok(read) => read,
            Err(reason) => {
                if self.refused.get(&file) != Some(&text) {
                    say(&format!("{}: {file} is not run: {reason}", self.host.name));
                    self.refused.insert(file, text);
                }
                return;
            }
        };
        let pod = file.trim_end_matches(".yaml").to_owned();
        let (path, args, environment, is_plugin) = match read {
            PodProgram::ControlPlane { program, args } => {
                (self.programs.join(program), args, Vec::new(), false)
            }
            PodProgram::Plugin { args, environment } => {
                let words = ["plugin", "run"].map(str::to_owned);
                let args = words.into_iter().chain(args).collect();
                (self.launcher.keystead().to_owned(), args, environment, true)
            }
        };
        let log = self.host.log(&pod);
        let grace = if is_plugin { GRACE } else { GRACE_OF_CONTROL_PLANE };
        let program = Program { path, args, environment, directory: self.host.directory.clone(), log, grace };
        let name = format!("{}: {pod}", self.host.name);
        say(&format!("{name} is started"));
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(keep_running(name, self.launcher.clone(), program, stop.clone()));
        self.pods.insert(file, Pod { is_plugin, seen: text, stop, task });
    }
}
