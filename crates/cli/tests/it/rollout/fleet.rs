//! Control-plane hosts that share one etcd.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use keystead_etcd::stored::Stored;
use keystead_etcd::{Connection, Etcd};
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, EtcdServer, Options, StaticPod};
use keystead_testkit::process::Process;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;

use crate::keystead;

/// Far more than a start takes: test machines are busy.
const START: Duration = Duration::from_secs(120);

pub(crate) struct Fleet {
    pub(crate) pods: Vec<StaticPod>,
    /// One for each API server, at its own address.
    pub(crate) clients: Vec<Client>,
    // Dropped in this order: what runs, then etcd and the directory.
    _kubelets: JoinSet<()>,
    pub(crate) plugins: Vec<Process>,
    kubeconfig: PathBuf,
    control_plane: ControlPlane,
}

/// How a command ended.
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Fleet {
    pub(crate) async fn start(version: &str, hosts: usize) -> Self {
        Self::start_after(version, hosts, |_| {}).await
    }

    /// The same. `prepare` is given each host's directory when its manifest is written and its API server is not started yet.
    pub(crate) async fn start_after(version: &str, hosts: usize, prepare: impl Fn(&Path)) -> Self {
        let options = Options { version: version.to_owned(), api_servers: hosts, ..Options::default() };
        let mut control_plane = ControlPlane::prepare(options).await.expect("etcd");
        let directory = control_plane.directory().to_owned();
        let kubeconfig = directory.join("kubeconfig");
        let (mut pods, mut clients, mut plugins) = (Vec::new(), Vec::new(), Vec::new());
        let mut kubelets = JoinSet::new();
        for (index, server) in std::mem::take(&mut control_plane.api_servers).into_iter().enumerate() {
            let host = directory.join(format!("host-{index}"));
            make_directories(&host);
            fs::write(host.join("kubeconfig"), server.kubeconfig(server.token())).expect("a kubeconfig");
            if index == 0 {
                fs::write(&kubeconfig, server.kubeconfig(server.token())).expect("a kubeconfig");
                make_key(&host.join("plugin/key"));
            } else {
                fs::copy(directory.join("host-0/plugin/key"), host.join("plugin/key")).expect("the same key");
            }
            plugins.push(start_plugin(&host).await);
            clients.push(server.client().clone());
            let manifest = host.join("manifests/kube-apiserver.yaml");
            let pki = host.join("pki");
            let (kubelet, pod) = server.into_static_pod(&manifest, &[&pki], version).expect("a manifest");
            pods.push(pod);
            prepare(&host);
            kubelets.spawn(async move {
                kubelet.run().await.expect("a kubelet");
            });
        }
        play_ssh(&directory);
        let fleet = Self { pods, clients, _kubelets: kubelets, plugins, kubeconfig, control_plane };
        fleet.all_ready().await;
        fleet
    }

    /// A host that has not joined: its directory and its plugin, with the key of the others or one of its own. It runs until this is dropped.
    pub(crate) async fn newcomer(&self, name: &str, same_key: bool) -> (PathBuf, Process) {
        let host = self.directory().join(name);
        make_directories(&host);
        if same_key {
            fs::copy(self.host(0).join("plugin/key"), host.join("plugin/key")).expect("the same key");
        } else {
            make_key(&host.join("plugin/key"));
        }
        let plugin = start_plugin(&host).await;
        (host, plugin)
    }

    pub(crate) async fn all_ready(&self) {
        for client in &self.clients {
            ready(client).await;
        }
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn etcd(&self) -> &EtcdServer {
        self.control_plane.etcd()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.control_plane.directory()
    }

    /// A file of the test's own, as a word of a command line.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory().join(name).display().to_string()
    }

    pub(crate) fn host(&self, index: usize) -> PathBuf {
        self.directory().join(format!("host-{index}"))
    }

    pub(crate) fn manifest(&self, index: usize) -> String {
        fs::read_to_string(self.host(index).join("manifests/kube-apiserver.yaml")).expect("a manifest")
    }

    /// As [`Self::keystead`], on another host, as soon as its own API server answers.
    pub(crate) async fn keystead_on(&self, here: usize, args: &[&str]) -> Told {
        loop {
            let told = told(self.command_on(here, args)).await;
            if told.code != Some(4) {
                return told;
            }
            ready(&self.clients[here]).await;
        }
    }

    /// Runs `keystead cluster ARGS` on the first host, with the others named.
    pub(crate) async fn keystead(&self, args: &[&str]) -> Told {
        told(self.command(args)).await
    }

    /// The same, with no other host named.
    pub(crate) async fn alone(&self, args: &[&str]) -> Told {
        told(self.local_command(0, args)).await
    }

    pub(crate) fn command(&self, args: &[&str]) -> std::process::Command {
        self.command_on(0, args)
    }

    /// The same on another host.
    pub(crate) fn command_on(&self, here: usize, args: &[&str]) -> std::process::Command {
        let mut command = self.local_command(here, args);
        if self.pods.len() > 1 {
            command.args(["--over", "ssh", "--remote-program", env!("CARGO_BIN_EXE_keystead")]);
            for index in (0..self.pods.len()).filter(|it| *it != here) {
                command.args(["--host", &format!("host-{index}")]);
            }
        }
        command
    }

    /// Runs `keystead cluster ARGS` on a host that is to find the others through the cluster.
    pub(crate) fn part_on(&self, here: usize, args: &[&str]) -> std::process::Command {
        let mut command = self.local_command(here, args);
        command.args(["--over", "cluster", "--node", &format!("host-{here}")]);
        for index in (0..self.pods.len()).filter(|it| *it != here) {
            command.args(["--host", &format!("host-{index}")]);
        }
        command
    }

    fn local_command(&self, here: usize, args: &[&str]) -> std::process::Command {
        let host = self.host(here);
        let mut command = keystead();
        command.arg("cluster").args(args).arg("--kubeconfig").arg(host.join("kubeconfig"));
        command.arg("--manifest").arg(host.join("manifests/kube-apiserver.yaml"));
        command.arg("--configuration").arg(host.join("pki/encryption-configuration.yaml"));
        command.arg("--staging").arg(host.join("staging")).arg("--state").arg(host.join("state"));
        if args.contains(&"enable") && !args.contains(&"--endpoint") {
            let socket = host.join("plugin/kms.sock");
            command.arg("--endpoint").arg(format!("unix://{}", socket.display()));
        }
        command.env("PLAYED_HOST", format!("host-{here}"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.directory().join("bin").display()));
        command
    }

    pub(crate) async fn succeeds(&self, args: &[&str]) -> Told {
        let told = self.keystead(args).await;
        assert_eq!(told.code, Some(0), "keystead cluster {args:?}: {told}");
        told
    }

    /// The plugin's socket, on every host.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.host(0).join("plugin/kms.sock").display())
    }

    /// Runs a command and kills it when it begins its first step, then `continue` and kills that at a later one, as `next` says, until one
    /// comes to its end; how many were killed. With `api_servers`, one of them is killed at the first step of each kind, while the others serve.
    pub(crate) async fn succeeds_although_killed(
        &self,
        args: &[&str],
        next: fn(usize) -> usize,
        api_servers: bool,
    ) -> usize {
        self.all_ready().await;
        let (mut at, mut kills, mut turn) = (1, 0, 0);
        // Proofs hold for processes that run: who kills one at each step keeps everything from being proved.
        let mut seen = BTreeSet::new();
        loop {
            let args = if kills == 0 { args } else { &["continue", "--yes"] };
            let mut command = tokio::process::Command::from(self.command(args));
            let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("runs");
            let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
            let (mut text, mut begun) = (String::new(), 0);
            while let Some(line) = lines.next_line().await.expect("text") {
                text.push_str(&line);
                text.push('\n');
                let Some(step) = line.strip_prefix("now: ") else { continue };
                begun += 1;
                let kind: Vec<String> = step.split(' ').take(2).map(str::to_owned).collect();
                if api_servers && seen.insert(kind) {
                    turn += usize::from(self.kill_api_server(turn).await);
                }
                if begun == at {
                    child.kill().await.expect("killed");
                    break;
                }
            }
            let status = child.wait().await.expect("it ended");
            if begun == at {
                (at, kills) = (next(at), kills + 1);
                continue;
            }
            assert!(status.success(), "keystead cluster {args:?} after {kills} kills: {text}");
            return kills;
        }
    }

    /// Runs a command and kills it as soon as it says a line that begins so.
    pub(crate) async fn is_killed_at(&self, args: &[&str], beginning: &str) {
        let mut command = tokio::process::Command::from(self.command(args));
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut text = String::new();
        while let Some(line) = lines.next_line().await.expect("text") {
            if line.starts_with(beginning) {
                return child.kill().await.expect("killed");
            }
            text.push_str(&line);
            text.push('\n');
        }
        assert!(text.is_empty(), "keystead cluster {args:?} never says {beginning}: {text}");
    }

    /// Kills one API server, if all serve: then clients find another one. Whether it did.
    async fn kill_api_server(&self, turn: usize) -> bool {
        for client in &self.clients {
            if !client.readyz(false).await.is_ok_and(|it| it.ok) {
                return false;
            }
        }
        let pid = self.pods[turn % self.pods.len()].pid().and_then(|it| i32::try_from(it).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        pid.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok())
    }

    pub(crate) async fn create_secrets(&self, count: usize) {
        for index in 0..count {
            let secret = Object::new(Kind::Secret, "default", &format!("s-{index:04}"), "key", b"canary");
            self.clients[index % self.clients.len()].create(&secret).await.expect("created");
        }
    }

    /// What kubeadm leaves in its clusters; the text of it.
    pub(crate) async fn create_kubeadm_config(&self) -> String {
        let pki = self.host(0).join("pki");
        let text = format!(
            "apiServer:\n  extraArgs:\n    - name: authorization-mode\n      value: Node,RBAC\napiVersion: kubeadm.k8s.io/v1beta4\ncertificatesDir: {}\nkind: ClusterConfiguration\n",
            pki.display()
        );
        let object = Object::new(
            Kind::ConfigMap,
            "kube-system",
            "kubeadm-config",
            "ClusterConfiguration",
            text.as_bytes(),
        );
        self.clients[0].create(&object).await.expect("created");
        text
    }

    pub(crate) async fn kubeadm_config(&self) -> String {
        let object = self.clients[0].get(Kind::ConfigMap, "kube-system", "kubeadm-config").await;
        String::from_utf8_lossy(&object.expect("it is there").data["ClusterConfiguration"]).into_owned()
    }

    /// A new version on every host that all can read, and then the one that encrypts.
    pub(crate) fn rotate_keys(&self) {
        let first = self.host(0).join("plugin/key");
        plugin_key(&["add"], &first);
        for index in 1..self.pods.len() {
            replace(&first, &self.host(index).join("plugin/key"));
        }
        plugin_key(&["promote", "2"], &first);
        for index in 1..self.pods.len() {
            replace(&first, &self.host(index).join("plugin/key"));
        }
    }

    async fn values(&self, resource: &str) -> Vec<Stored> {
        let etcd = Etcd::connect(&Connection::plain(self.control_plane.etcd().url())).await.expect("etcd");
        let mut scanner = etcd.scan(&format!("/registry/{resource}/"));
        let mut values = Vec::new();
        while let Some(page) = scanner.next_page().await.expect("a page") {
            values.extend(page.entries.iter().map(|it| Stored::parse(&it.value, &[]).expect("readable")));
        }
        assert!(!values.is_empty());
        values
    }

    /// The providers of what is stored.
    pub(crate) async fn stored(&self, resource: &str) -> Vec<String> {
        let ways = self.values(resource).await.into_iter().map(|it| match it {
            Stored::Plain(_) => "identity".to_owned(),
            Stored::KmsV1(it) => format!("kms:v1:{}", it.provider),
            Stored::KmsV2(it) => format!("kms:v2:{}", it.provider),
            Stored::StaticKey(it) => it.key_name,
        });
        ways.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The key ids of the Secrets that are stored.
    pub(crate) async fn key_ids(&self) -> BTreeSet<String> {
        let values = self.values("secrets").await.into_iter();
        values.filter_map(|it| if let Stored::KmsV2(it) = it { Some(it.seed.key_id) } else { None }).collect()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

fn make_directories(host: &Path) {
    for name in ["manifests", "pki", "staging", "state", "plugin"] {
        fs::create_dir_all(host.join(name)).expect("a directory");
        fs::set_permissions(host.join(name), fs::Permissions::from_mode(0o700)).expect("a mode");
    }
}

async fn told(command: std::process::Command) -> Told {
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await.expect("runs");
    Told {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) async fn ready(client: &Client) {
    let deadline = tokio::time::Instant::now() + START;
    while !client.readyz(false).await.is_ok_and(|it| it.ok) {
        assert!(tokio::time::Instant::now() < deadline, "{} is not ready", client.url());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) fn make_key(path: &Path) {
    plugin_key(&["create"], path);
}

pub(crate) fn plugin_key(args: &[&str], file: &Path) {
    let mut command = keystead();
    let output =
        command.args(["plugin", "key"]).args(args).arg("--key-file").arg(file).output().expect("runs");
    assert!(output.status.success(), "plugin key {args:?}: {}", crate::stderr(&output));
}

/// As the guide says: never half there.
pub(crate) fn replace(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    fs::copy(from, &new).expect("a copy");
    fs::rename(&new, to).expect("a rename");
}

/// With the key and socket in `HOST/plugin`.
pub(crate) async fn start_plugin(host: &Path) -> Process {
    start_plugin_with(host, &[]).await
}

/// The same with more flags.
pub(crate) async fn start_plugin_with(host: &Path, more: &[&str]) -> Process {
    let key = host.join("plugin/key").display().to_string();
    let provider = ["--provider=local".to_owned(), format!("--key-file={key}")].into_iter();
    let flags: Vec<String> = provider.chain(more.iter().map(|it| (*it).to_owned())).collect();
    start_plugin_at(host, "kms.sock", &flags).await
}

/// With a socket of this name in `HOST/plugin`, and its provider's flags.
pub(crate) async fn start_plugin_at(host: &Path, socket: &str, flags: &[String]) -> Process {
    let args = [
        "plugin".to_owned(),
        "run".to_owned(),
        format!("--socket={}", host.join("plugin").join(socket).display()),
        "--probe-interval=1s".to_owned(),
        "--admin=127.0.0.1:0".to_owned(),
    ];
    let args: Vec<_> = args.iter().chain(flags).map(Into::into).collect();
    let log = host.join(format!("{socket}.log"));
    Process::spawn(Path::new(env!("CARGO_BIN_EXE_keystead")), &args, &log).await.expect("a plugin")
}

/// A file for its owner alone.
pub(crate) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
}

/// What goes to another host has that host's paths, and what comes back those of the host that asks: to the command all hosts look alike.
fn play_ssh(directory: &Path) {
    let script = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nhost=$2\nhere=${PLAYED_HOST:-host-0}\nshift 2\n\
        command=$(echo \"$*\" | sed \"s#/$here/#/$host/#g\")\n\
        sed \"s#/$here/#/$host/#g\" | sh -c \"$command\" | sed \"s#/$host/#/$here/#g\"\n";
    let bin = directory.join("bin");
    fs::create_dir_all(&bin).expect("a directory");
    fs::write(bin.join("ssh"), script).expect("a script");
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).expect("a mode");
}
