//! A real node: containerd, kubelet and what kubeadm makes of them, in namespaces of its own on this machine.
//!
//! It has its own processes, network, mounts and hostname; of this machine's directories it sees all but `/run` and `/tmp`, which
//! are its own, and what it writes to `/etc`, `/var` and `/opt` stays its own. It needs root. When the [`Node`] is dropped or this process dies, everything ends, and the
//! machine is as it was. One node runs at a time; the next one waits.

mod image;

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

use crate::control_plane::{Binaries, DEFAULT_VERSION};
use image::Image;

/// The variable with the folder of the node's programs: `cargo xtask test --tools` sets it.
const PROGRAMS: &str = "KEYSTEAD_NODE";

/// A minute on an idle machine with two cores; test machines are busy, and another node may have to end first.
const START: Duration = Duration::from_secs(600);

/// The node's own programs first. Outside, the first folder does not exist.
const SEARCH_PATH: &str = "/run/programs:/usr/sbin:/usr/bin:/sbin:/bin";

/// The shell and the tools of Debian's package.
const BUSYBOX: &str = "/bin/busybox";

/// The name of the image with a shell, for Pods of tests.
pub const SHELL_IMAGE: &str = "keystead.test/busybox:1";

/// A running node. Its name is `node`, its address 10.99.0.2.
#[derive(Debug)]
pub struct Node {
    /// Of the first process, seen from outside.
    pid: u32,
    directory: PathBuf,
    host: Child,
    lifeline: Option<ChildStdin>,
}

impl Node {
    /// Starts everything and waits until kubeadm is done and the API server is ready.
    pub async fn start() -> Result<Self> {
        let programs = std::env::var_os(PROGRAMS).map(PathBuf::from);
        let programs =
            programs.with_context(|| format!("{PROGRAMS} is not set: cargo xtask test --tools sets it"))?;
        let directory = tempfile::Builder::new().prefix("keystead-node-").tempdir()?;
        write_files(directory.path(), &programs)?;
        let mut host = Command::new("sh")
            .arg(directory.path().join("host.sh"))
            .arg(directory.path())
            .arg(cgroup(directory.path())?)
            .arg(&programs)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            // Ctrl-C and a test runner's signals are for us; the lifeline passes them on.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(directory.path().join("host.log"))?)
            .spawn()
            .context("cannot start sh for a node")?;
        let lifeline = host.stdin.take();
        let reports = host.stdout.take().context("standard output is piped")?;
        // From here on host.sh removes it.
        let directory = directory.keep();
        let mut node = Self { pid: 0, directory, host, lifeline };
        let mut reports = BufReader::new(ChildStdout::from_std(reports)?).lines();
        let ready = async {
            while let Some(line) = reports.next_line().await? {
                match line.strip_prefix("pid ") {
                    Some(pid) => node.pid = pid.parse()?,
                    None => return Ok(line == "ready"),
                }
            }
            anyhow::Ok(false)
        };
        let ready = tokio::time::timeout(START, ready).await;
        if !matches!(ready, Ok(Ok(true))) {
            bail!("the node is not ready ({ready:?}); {}", node.logs());
        }
        node.wait("the API server is ready", START, async |node| {
            let answer = node.kubectl(&["get", "--raw", "/readyz"]).await?;
            ensure!(answer.trim() == "ok", "{answer}");
            Ok(())
        })
        .await?;
        Ok(node)
    }

    /// `program` inside the node, as root.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--mount", "--net", "--uts", "--ipc", "--pid", "--"])
            .arg(program)
            .env_clear()
            .envs([("PATH", SEARCH_PATH), ("HOME", "/root"), ("KUBECONFIG", "/etc/kubernetes/admin.conf")])
            .stdin(Stdio::null());
        command
    }

    /// Runs `program` inside the node to its end.
    pub async fn run(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Result<Output> {
        let mut command = self.command(program);
        command.args(args);
        let mut command = tokio::process::Command::from(command);
        Ok(command.kill_on_drop(true).output().await?)
    }

    /// What `kubectl` prints, as the cluster's administrator.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let output = self.run("kubectl", args).await?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {told}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Writes a file of the node with the modes of the day, at once: it is never seen half.
    pub async fn write(&self, path: &Path, text: &str) -> Result<()> {
        let name = path.file_name().context("a file has a name")?;
        // The node sees its own directory there.
        let staged = Path::new("/run/node").join(name);
        fs::write(self.directory.join(name), text)?;
        let (staged, path) = (staged.display().to_string(), path.display().to_string());
        let script = "cp \"$1\" /etc/node-staged && mv /etc/node-staged \"$2\" && rm \"$1\"";
        let output = self.run("sh", &["-c", script, "sh", &staged, &path]).await?;
        ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Cuts the power and boots: every process ends at once, and what is not on a disk is gone. It returns when the kubelet starts.
    pub async fn reboot(&self) -> Result<()> {
        let boots = || fs::read_to_string(self.directory.join("boots")).unwrap_or_default().lines().count();
        let before = boots();
        // The signal ends whoever sends it.
        drop(self.run("kill", &["-HUP", "1"]).await?);
        self.wait("it has booted", START, async |_| {
            ensure!(boots() > before, "booted {before} times");
            Ok(())
        })
        .await
    }

    /// Asks `check` until it is content, or says why it was not after `patience`.
    pub async fn wait(
        &self,
        what: &str,
        patience: Duration,
        mut check: impl AsyncFnMut(&Self) -> Result<()>,
    ) -> Result<()> {
        // Each check starts a process or more: short beside the seconds that things take here, long beside that.
        const PAUSE: Duration = Duration::from_millis(500);
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let Err(error) = check(self).await else { return Ok(()) };
            if tokio::time::Instant::now() >= deadline {
                return Err(error)
                    .with_context(|| format!("not after {patience:?}: {what}; {}", self.logs()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Does `work` on a thread of its own whose connections are made inside the node. Files are those of this machine.
    pub fn on_its_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.pid)).context("the node has ended")?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), kind)?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Where everything of the node is on this machine.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file below the node's `/etc` by the name that it has on this machine, if the node has written it.
    pub fn etc(&self, path: &str) -> PathBuf {
        self.directory.join("etc/upper").join(path)
    }

    /// The last lines of each log.
    pub fn logs(&self) -> String {
        const LINES: usize = 15;
        let mut told = String::new();
        for name in ["host", "init", "images", "kubeadm", "kubelet", "containerd"] {
            let mut text = String::new();
            let log = fs::File::open(self.directory.join(format!("{name}.log")));
            if log.and_then(|mut it| it.read_to_string(&mut text)).is_ok() && !text.is_empty() {
                let lines: Vec<&str> = text.lines().collect();
                let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n");
                told.push_str(&format!("\n--- {name}.log\n{last}"));
            }
        }
        told
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // host.sh ends the node, puts back what it changed and removes the directory.
        drop(self.host.wait());
    }
}

/// Everything that the scripts read.
fn write_files(directory: &Path, programs: &Path) -> Result<()> {
    let list = Command::new(programs.join("kubeadm"))
        .args(["config", "images", "list", "--kubernetes-version", DEFAULT_VERSION])
        .output()
        .context("cannot run kubeadm")?;
    ensure!(list.status.success(), "kubeadm config images list: {}", String::from_utf8_lossy(&list.stderr));
    let list = String::from_utf8(list.stdout)?;
    // kubeadm's own names: nothing has to be pulled, and its manifests stay as they are.
    let name = |program: &str| {
        let found = list
            .lines()
            .find(|it| it.rsplit('/').next().is_some_and(|it| it.starts_with(&format!("{program}:"))));
        found.with_context(|| format!("kubeadm names no image {program}: {list}"))
    };
    let binaries = Binaries::find(None, DEFAULT_VERSION)?;
    let folder = directory.join("images");
    fs::create_dir(&folder)?;
    for (program, path) in [
        ("kube-apiserver", binaries.kube_apiserver),
        ("etcd", binaries.etcd),
        ("kube-controller-manager", programs.join("kube-controller-manager")),
        ("kube-scheduler", programs.join("kube-scheduler")),
    ] {
        let image = Image { name: name(program)?, program: (&path, program), also: &[], command: &[program] };
        image.write(&folder.join(format!("{program}.tar")))?;
    }
    let busybox = (Path::new(BUSYBOX), "busybox");
    let also = &["sh", "sleep", "env", "cat"];
    // The container that holds a Pod's namespaces only has to wait.
    let pause = Image { name: name("pause")?, program: busybox, also, command: &["sleep", "2147483647"] };
    pause.write(&folder.join("pause.tar"))?;
    let shell = Image { name: SHELL_IMAGE, program: busybox, also, command: &["sh"] };
    shell.write(&folder.join("busybox.tar"))?;
    let containerd = include_str!("node/containerd.toml").replace("PAUSE", name("pause")?);
    let kubeadm = include_str!("node/kubeadm.yaml")
        .replace("VERSION", &format!("v{DEFAULT_VERSION}"))
        .replace("CGROUP", &cgroup(directory)?);
    for (name, text) in [
        ("host.sh", include_str!("node/host.sh")),
        ("init.sh", include_str!("node/init.sh")),
        ("cni.conflist", include_str!("node/cni.conflist")),
        ("containerd.toml", &containerd),
        ("kubeadm.yaml", &kubeadm),
    ] {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// One that no other node has.
fn cgroup(directory: &Path) -> Result<String> {
    let name = directory.file_name().and_then(OsStr::to_str).context("a directory has a name")?;
    Ok(format!("/{name}"))
}
