//! `keystead quickstart`: the whole story on this machine, in one directory.

mod cluster;
mod key_service;
mod local_cluster;
mod narration;
mod plugin_process;
mod simulated;
mod story;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use keystead_runtime::{Failure, termination};
use keystead_testkit::control_plane::{Binaries, DEFAULT_VERSION};

use crate::env::quote;
use cluster::RealCluster;
use narration::Narration;
use simulated::SimulatedCluster;
use story::Running;

/// From nothing to proof on this machine: starts a key management service and the plugin, creates Secrets on a real
/// kube-apiserver, shows what etcd holds before and after, rotates, re-encrypts, and counts what is stored under which key.
///
/// Without a built control plane it plays kube-apiserver's part itself and says so.
#[derive(Debug, clap::Args)]
pub(crate) struct QuickstartArgs {
    /// Have the server run a whole cluster, and encrypt it by the commands of a managed service
    #[arg(long)]
    cluster: bool,
    /// End after the proof, with exit code 0; without it everything stays up until Ctrl-C
    #[arg(long)]
    check: bool,
    /// Directory with kube-apiserver and etcd; by default the one that `cargo xtask control-plane` built, or PATH
    #[arg(long, value_name = "DIR")]
    control_plane: Option<PathBuf>,
    /// Directory for everything; it must not exist yet, and it stays. By default a temporary one that goes away
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &QuickstartArgs) -> Result<(), Failure> {
    let ended = crate::runtime()?.block_on(async {
        tokio::select! {
            ended = tell(args) => ended,
            // Everything is dropped, and so ended, on the way out.
            interrupted = interrupted() => interrupted,
        }
    });
    ended.map_err(|error| Failure::from_error(error.as_ref()))
}

async fn interrupted() -> Result<()> {
    termination().context("cannot wait for Ctrl-C")?.await;
    Ok(())
}

async fn tell(args: &QuickstartArgs) -> Result<()> {
    let narration = Narration::new();
    let directory = Directory::new(args.dir.as_deref())?;
    narration.say(&format!("everything is in {}", directory.path().display()));
    if args.cluster {
        let binaries = Binaries::find(args.control_plane.as_deref(), DEFAULT_VERSION)?;
        let programs = local_cluster::programs(&binaries.kube_apiserver)?;
        narration.say(&format!("programs of Kubernetes: {}", programs.display()));
        let managed = local_cluster::tell(&narration, directory.path(), programs).await?;
        if args.check {
            return Ok(());
        }
        let program = std::env::current_exe().context("cannot find this program")?;
        narration.say(&local_cluster::try_it(&quote(&program.to_string_lossy()), &managed.service));
        return stay(&narration, &directory).await;
    }
    match Binaries::find(args.control_plane.as_deref(), DEFAULT_VERSION) {
        Ok(binaries) => {
            narration.say(&format!("control plane: {}", binaries.kube_apiserver.display()));
            let mut cluster = RealCluster::new(directory.path(), args.control_plane.clone());
            let running = story::tell(&narration, directory.path(), &mut cluster).await?;
            finish(args, &narration, &directory, &running, Some(&cluster)).await
        }
        Err(error) if args.control_plane.is_some() => Err(error),
        Err(_) => {
            narration.say(
                "no control plane is built or installed here: this program plays kube-apiserver's part itself, with\n\
                 the same stored format, and keeps what etcd would keep in memory. For the real ones, once, in some\n\
                 minutes: cargo xtask control-plane",
            );
            let mut cluster = SimulatedCluster::default();
            let running = story::tell(&narration, directory.path(), &mut cluster).await?;
            finish(args, &narration, &directory, &running, None).await
        }
    }
}

async fn finish(
    args: &QuickstartArgs,
    narration: &Narration,
    directory: &Directory,
    running: &Running,
    cluster: Option<&RealCluster>,
) -> Result<()> {
    narration.next_steps();
    if args.check {
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let program = quote(&program.to_string_lossy());
    if let Some(lines) = cluster.and_then(|it| it.try_it(&program)) {
        narration.say(&lines);
    }
    narration.say(&format!(
        "\nThe key management service is at {}. In another shell, as its administrator:\n   \
         eval \"$({} env --data-dir {})\"\n   gcloud kms keys versions list {}\n",
        running.service.endpoint(),
        program,
        quote(&running.service.data_dir().to_string_lossy()),
        key_service::KEY_FLAGS.join(" "),
    ));
    stay(narration, directory).await
}

async fn stay(narration: &Narration, directory: &Directory) -> Result<()> {
    narration.say(&format!("up until Ctrl-C; logs are in {}", directory.path().display()));
    std::future::pending().await
}

/// The one directory.
enum Directory {
    Temporary(tempfile::TempDir),
    Given(PathBuf),
}

impl Directory {
    fn new(given: Option<&Path>) -> Result<Self> {
        let Some(path) = given else {
            let directory = tempfile::Builder::new().prefix("keystead-quickstart-").tempdir();
            let directory = directory.context("cannot make a temporary directory")?;
            restrict(directory.path())?;
            return Ok(Self::Temporary(directory));
        };
        std::fs::create_dir(path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        restrict(path)?;
        Ok(Self::Given(std::path::absolute(path)?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Given(path) => path,
        }
    }
}

/// Only we may enter: the socket's directory must not be open to others.
fn restrict(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("cannot restrict {}", path.display()))
}
