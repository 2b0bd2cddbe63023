//! A host that is a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::keystead;

/// Far more than a start takes: test machines are busy.
const START: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Nobody has it, and no program that asks for any port gets it meanwhile: it is below those that Linux gives out
/// (`net.ipv4.ip_local_port_range`).
pub(crate) fn unused_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 20_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Processes that run at the same time begin at different places.
        let next = (std::process::id() * 100 + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u32;
        let port = u16::try_from(PORTS.start + next).expect("in the range");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

pub(super) struct Host {
    directory: tempfile::TempDir,
    admin_port: u16,
}

/// How a command ended.
pub(super) struct Told {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Host {
    /// With a key file, and with programs that play `ctr` and `systemctl`.
    pub(super) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("ks").tempdir().expect("a directory");
        let host = Self { directory, admin_port: unused_port() };
        for name in
            ["manifests", "staging", "state", "units", "tmpfiles.d", "etc/keystead", "tmp", "bin", "programs"]
        {
            fs::create_dir_all(host.path(name)).expect("a directory");
            fs::set_permissions(host.path(name), fs::Permissions::from_mode(0o700)).expect("a mode");
        }
        let mut command = keystead();
        command.args(["plugin", "key", "create", "--key-file"]).arg(host.path("etc/keystead/key"));
        assert!(command.output().expect("runs").status.success());
        // Knows the images that were imported, and at first the one of this version.
        let log = host.path("ctr.log").display().to_string();
        let known = host.path("images").display().to_string();
        let pinned = host.path("pinned").display().to_string();
        fs::write(&known, format!("keystead.io/keystead-plugin:{}\n", env!("CARGO_PKG_VERSION")))
            .expect("writes");
        host.play("ctr", &format!(
            "echo \"$*\" >> {log}\ncase \"$*\" in\n*' version') ;;\n*'images import '*) cat \"$5.name\" >> {known} ;;\n*'images label '*=pinned) echo \"$5\" >> {pinned} ;;\n*'images label '*) grep -v -x -F \"$5\" {pinned} > {pinned}.new || true; mv {pinned}.new {pinned} ;;\n*'images list --quiet labels.\"io.cri-containerd.pinned\"==pinned') sort -u {pinned} ;;\n*'images list --quiet name=='*) grep -x -F \"${{6#name==}}\" {known} || true ;;\n*) echo \"what is $*\" >&2; exit 1 ;;\nesac"
        ));
        host
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path("tmp/keystead/kms.sock")
    }

    pub(super) fn socket_of(&self, instance: &str) -> PathBuf {
        self.path(&format!("tmp/keystead/{instance}/kms.sock"))
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect(name)
    }

    /// As an editor does that knows of the kubelet.
    pub(super) fn replace(&self, name: &str, text: &str) {
        fs::write(self.path("staging/edited"), text).expect("writes");
        fs::rename(self.path("staging/edited"), self.path(name)).expect("renames");
    }

    /// A file for its owner alone.
    pub(super) fn private(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("writes");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    /// Text with this host's paths as they are on a real one.
    pub(super) fn as_on_a_host(&self, text: &str) -> String {
        text.replace(&self.directory.path().display().to_string(), "")
            .replace(&self.admin_port.to_string(), "10277")
            .replace(&format!("keystead-plugin:{}", env!("CARGO_PKG_VERSION")), "keystead-plugin:VERSION")
    }

    /// A shell script on PATH.
    pub(super) fn play(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    pub(super) fn ctr_log(&self) -> String {
        fs::read_to_string(self.path("ctr.log")).unwrap_or_default()
    }

    /// Names in the directory of static pods.
    pub(super) fn manifests(&self) -> Vec<String> {
        names(&self.path("manifests"))
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = keystead();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.env_remove("KMS_KEY_ID").env_remove("KMS_USER_ID");
        command.arg("plugin").args(args).stdin(Stdio::null());
        command.arg("--manifests").arg(self.path("manifests")).arg("--staging").arg(self.path("staging"));
        command.arg("--state").arg(self.path("state")).arg("--units").arg(self.path("units"));
        command.arg("--tmpfiles").arg(self.path("tmpfiles.d"));
        // An instance has files of its own, and a port that is chosen for it.
        let at = args.iter().position(|it| *it == "--instance");
        let instance = at.and_then(|at| args.get(at + 1));
        let suffix = instance.map(|it| format!("-{it}")).unwrap_or_default();
        command.arg("--environment-file").arg(self.path(&format!("etc/keystead/plugin{suffix}.env")));
        command.arg("--programs").arg(self.path("programs"));
        if args.first() == Some(&"install") {
            if instance.is_none() {
                command.args(["--admin-port", &self.admin_port.to_string()]);
            }
            let socket = instance.map_or_else(|| self.socket(), |it| self.socket_of(it));
            for (flag, path) in [("--key-file", self.path("etc/keystead/key")), ("--socket", socket)] {
                let is_given = args.contains(&flag) || (flag == "--key-file" && args.contains(&"--kms-key"));
                if !is_given {
                    command.arg(flag).arg(path);
                }
            }
        }
        command
    }

    /// Runs `keystead plugin ARGS` on this host.
    pub(super) fn plugin(&self, args: &[&str]) -> Told {
        Told::of(self.command(args))
    }

    pub(super) fn succeeds(&self, args: &[&str]) -> Told {
        let told = self.plugin(args);
        assert_eq!(told.code, Some(0), "{args:?}: {told}");
        told
    }

    pub(super) fn install_static_pod(&self) {
        self.succeeds(&["install", "--as", "static-pod", "--yes"]);
    }

    /// A tar with an image layout that names this image, and beside it the name for the `ctr` that is played.
    pub(super) fn image_file(&self, name: &str, digit: &str) -> PathBuf {
        let path = self.path(&format!("image-{digit}.tar"));
        let digest = format!("sha256:{}", digit.repeat(64));
        let index = serde_json::json!({ "manifests": [{ "digest": digest, "annotations": { "io.containerd.image.name": name } }] });
        let files =
            [("blobs/sha256/x", b"something".to_vec()), ("index.json", index.to_string().into_bytes())];
        let mut tar = tar::Builder::new(fs::File::create(&path).expect("a file"));
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len().try_into().expect("short"));
            header.set_mode(0o644);
            tar.append_data(&mut header, name, content.as_slice()).expect("writes");
        }
        tar.finish().expect("writes");
        fs::write(path.with_extension("tar.name"), format!("{name}\n")).expect("writes");
        path
    }

    /// Starts what stands in the directory of static pods, until it is dropped.
    pub(super) fn play_kubelet(&self) -> Kubelet {
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let (theirs, manifests) = (Arc::clone(&state), self.path("manifests"));
        let thread = std::thread::spawn(move || run_kubelet(&manifests, &theirs));
        Kubelet { state, thread: Some(thread) }
    }
}

impl Told {
    pub(super) fn of(mut command: Command) -> Self {
        let output = command.output().expect("runs");
        Self { code: output.status.code(), stdout: crate::stdout(&output), stderr: crate::stderr(&output) }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

/// YAML as a reader of another make sees it.
pub(super) fn yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).expect(text)
}

pub(super) struct Kubelet {
    state: Arc<(Mutex<State>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    starts: usize,
    running: usize,
    seen: BTreeSet<String>,
    stopping: bool,
}

impl Kubelet {
    pub(super) fn starts(&self) -> usize {
        self.state.0.lock().expect("not poisoned").starts
    }

    pub(super) fn running(&self) -> usize {
        self.state.0.lock().expect("not poisoned").running
    }

    /// All names that ever stood in the directory.
    pub(super) fn seen(&self) -> Vec<String> {
        self.state.0.lock().expect("not poisoned").seen.iter().cloned().collect()
    }

    pub(super) fn await_starts(&self, starts: usize) {
        let state = self.state.0.lock().expect("not poisoned");
        let waited = self.state.1.wait_timeout_while(state, START, |it| it.starts < starts);
        assert!(!waited.expect("not poisoned").1.timed_out(), "no start {starts}");
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.0.lock() {
            state.stopping = true;
        }
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

fn run_kubelet(manifests: &Path, (state, changed): &(Mutex<State>, Condvar)) {
    let mut pods: BTreeMap<String, (String, Child)> = BTreeMap::new();
    loop {
        let names = names(manifests);
        let is_plugin = |it: &&String| it.starts_with("keystead-kms-plugin") && it.ends_with("-pod.yaml");
        let texts = names.iter().filter(is_plugin).filter_map(|name| {
            fs::read_to_string(manifests.join(name)).ok().map(|text| (name.clone(), text))
        });
        let texts: BTreeMap<String, String> = texts.collect();
        let ended: Vec<String> = pods
            .iter()
            .filter(|(name, (text, _))| texts.get(*name) != Some(text))
            .map(|it| it.0.clone())
            .collect();
        for (_, child) in ended.iter().filter_map(|name| pods.remove(name)) {
            end(child);
        }
        let mut starts = 0;
        for (name, text) in texts {
            pods.entry(name).or_insert_with(|| {
                starts += 1;
                let child = start(&yaml(&text));
                (text, child)
            });
        }
        let mut state = state.lock().expect("not poisoned");
        state.running = pods.len();
        state.starts += starts;
        state.seen.extend(names);
        changed.notify_all();
        if state.stopping {
            break;
        }
        drop(changed.wait_timeout(state, BETWEEN_LOOKS));
    }
    for (_, (_, child)) in pods {
        end(child);
    }
}

/// The container's program with its arguments and variables. Mounts have the same path in the pod and on the host.
fn start(pod: &serde_json::Value) -> Child {
    let container = &pod["spec"]["containers"][0];
    let list = |key: &str| container[key].as_array().cloned().unwrap_or_default();
    let mut command = keystead();
    command.args(["plugin", "run"]).args(list("args").iter().map(|it| it.as_str().expect("text")));
    for variable in list("env") {
        command.env(variable["name"].as_str().expect("text"), variable["value"].as_str().expect("text"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
}

fn end(mut child: Child) {
    drop(Command::new("kill").arg(child.id().to_string()).status());
    drop(child.wait());
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
