//! API servers that systemd runs, without a kubelet and without kubeadm: a real systemd, with etcd, kube-apiserver and our plugin as its units.

#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod agent;
mod down;
mod taken_back;
mod two_plugins;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use keystead_etcd::stored::Stored;
use keystead_etcd::{Connection, Etcd};
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options};
use keystead_testkit::systemd_host::SystemdHost;

use crate::plugin_install::host::unused_port;
use crate::rollout::fleet::ready;

const KEYSTEAD: &str = env!("CARGO_BIN_EXE_keystead");
const UNIT: &str = "/etc/systemd/system/kube-apiserver.service";
const VARIABLES: &str = "/etc/kubernetes/apiserver";
const DROP_IN: &str = "/etc/systemd/system/kube-apiserver.service.d/50-keystead.conf";
const ENDPOINT: &str = "unix:///run/keystead/kms.sock";
/// A regular expression, in the quotes and with the escapes that systemd wants.
const HARD_FLAG: &str = r#""--cors-allowed-origins=^https://a\\.b%%20c$$""#;
const HARD_WORD: &str = r"--cors-allowed-origins=^https://a\.b%20c$";
const PROGRAM: &str = "/usr/local/bin/kube-apiserver";

/// What `keystead doctor` finds here, and on no host with a kubelet.
pub(crate) const FAULT: &str = "unit-changed";

struct Scene {
    host: SystemdHost,
    client: Client,
    url: String,
    kubeconfig: PathBuf,
    // Dropped last: ports, and the directory of etcd.
    control_plane: ControlPlane,
    directory: tempfile::TempDir,
}

/// How a command ended.
struct Told {
    code: Option<i32>,
    text: String,
}

impl Scene {
    /// etcd and kube-apiserver as on the hosts of those who do it the hard way: flags in `ExecStart=`, and others in an `EnvironmentFile=`.
    async fn start(more: &str) -> Self {
        // Not below /tmp, which a unit may have for itself.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let directory = folder.path().to_owned();
        let options = Options { directory: Some(directory.clone()), ..Options::default() };
        let mut control_plane = ControlPlane::prepare(options).await.expect("etcd");
        let host = SystemdHost::start(&directory).await.expect("systemd");
        let etcd = control_plane.etcd();
        let url = etcd.url().to_owned();
        let command = fs::read_to_string(format!("/proc/{}/cmdline", etcd.pid())).expect("etcd runs");
        control_plane.etcd_mut().stop().await.expect("it ends");
        let command: Vec<&str> = command.split('\0').filter(|it| !it.is_empty()).collect();
        let server = &control_plane.api_servers[0];
        let (in_file, in_unit): (Vec<String>, Vec<String>) =
            server.flags().cloned().partition(|it| it.starts_with("--etcd") || it.starts_with("--service"));
        let unit = format!(
            "[Unit]\nDescription=Kubernetes API server\nAfter=etcd.service\n\n[Service]\nType=notify\nEnvironmentFile=-{VARIABLES}\n# Flags.\nExecStart={PROGRAM} \\\n  {HARD_FLAG} \\\n  {} \\\n  $KUBE_API_ARGS\nRestart=on-failure\nRestartSec=1\nTimeoutStartSec=infinity\n{more}",
            in_unit.join(" \\\n  ")
        );
        let kubeconfig = directory.join("kubeconfig");
        fs::write(&kubeconfig, server.kubeconfig(server.token())).expect("written");
        // Where any user gets to it.
        let program = server.program().display().to_string();
        host.told("cp", &[&program, PROGRAM]).await.expect("copied");
        let client = server.client().clone();
        let scene = Self { host, client, url, kubeconfig, control_plane, directory: folder };
        scene.write(
            "/etc/systemd/system/etcd.service",
            &format!("[Service]\nType=notify\nExecStart={}\n", command.join(" ")),
        );
        scene.write(UNIT, &unit);
        fs::create_dir_all(scene.host.path("/etc/kubernetes")).expect("a directory");
        scene.write(VARIABLES, &format!("KUBE_API_ARGS=\"{}\"\n", in_file.join(" ")));
        scene.systemctl(&["daemon-reload"]).await;
        scene.systemctl(&["start", "etcd.service", "kube-apiserver.service"]).await;
        ready(&scene.client).await;
        scene
    }

    async fn systemctl(&self, args: &[&str]) -> String {
        self.host.told("systemctl", args).await.expect("systemctl")
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.host.path(path)).expect(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.host.path(path), text).expect(path);
    }

    /// `keystead ARGS` on the host.
    async fn keystead(&self, args: &[&str]) -> Told {
        let output = self.host.run(KEYSTEAD, args).await.expect("runs");
        let text = [output.stdout, output.stderr].concat();
        Told { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    async fn cluster(&self, args: &[&str]) -> Told {
        let kubeconfig = self.kubeconfig.display().to_string();
        self.keystead(&[&["cluster"], args, &["--kubeconfig", &kubeconfig]].concat()).await
    }

    async fn succeeds(&self, args: &[&str]) -> String {
        let told = self.cluster(args).await;
        assert_eq!(told.code, Some(0), "keystead cluster {args:?}: {}", told.text);
        told.text
    }

    async fn is_refused(&self, args: &[&str], why: &str) {
        let told = self.cluster(args).await;
        assert!(told.code != Some(0) && told.text.contains(why), "keystead cluster {args:?}: {}", told.text);
    }

    /// With a key file of its own, by `plugin install --as systemd`.
    async fn install_plugin(&self, socket: &str) {
        fs::create_dir_all(self.host.path("/etc/keystead")).expect("a directory");
        let key = "/etc/keystead/key";
        if !self.host.path(key).exists() {
            self.key(&["create"]).await;
        }
        let program = Path::new(KEYSTEAD).with_file_name("keystead-plugin").display().to_string();
        let port = unused_port().to_string();
        self.plugin(&[
            "install",
            "--as",
            "systemd",
            "--program",
            &program,
            "--key-file",
            key,
            "--socket",
            socket,
            "--admin-port",
            &port,
            "--yes",
        ])
        .await;
    }

    /// `keystead plugin ARGS`, which must succeed.
    async fn plugin(&self, args: &[&str]) {
        let told = self.keystead(&[&["plugin"], args].concat()).await;
        assert_eq!(told.code, Some(0), "plugin {args:?}: {}", told.text);
    }

    async fn key(&self, args: &[&str]) {
        let told =
            self.keystead(&[&["plugin", "key"], args, &["--key-file", "/etc/keystead/key"]].concat()).await;
        assert_eq!(told.code, Some(0), "plugin key {args:?}: {}", told.text);
    }

    async fn create_secret(&self, name: &str) {
        let secret = Object::new(Kind::Secret, "default", name, "key", b"canary");
        self.client.create(&secret).await.expect("created");
    }

    /// How each Secret is stored: `plain`, or its key id.
    async fn stored(&self) -> Vec<String> {
        let etcd = Etcd::connect(&Connection::plain(&self.url)).await.expect("etcd");
        let mut scanner = etcd.scan("/registry/secrets/");
        let mut ways = Vec::new();
        while let Some(page) = scanner.next_page().await.expect("a page") {
            ways.extend(page.entries.iter().map(
                |it| match Stored::parse(&it.value, &[]).expect("readable") {
                    Stored::KmsV2(it) => it.seed.key_id,
                    Stored::Plain(_) => "plain".to_owned(),
                    other => panic!("{other:?}"),
                },
            ));
        }
        ways.sort();
        ways.dedup();
        assert!(!ways.is_empty());
        ways
    }

    async fn main_process(&self) -> String {
        let pid = self.systemctl(&["show", "--value", "--property=MainPID", "kube-apiserver.service"]).await;
        pid.trim().to_owned()
    }

    /// What kube-apiserver was started with.
    async fn words(&self) -> Vec<String> {
        let pid = self.main_process().await;
        let text = self.host.told("cat", &[&format!("/proc/{pid}/cmdline")]).await.expect("it runs");
        text.trim_end_matches('\0').split('\0').map(str::to_owned).collect()
    }

    /// Every file and directory of units, with its text.
    fn units(&self) -> BTreeMap<PathBuf, String> {
        let (mut all, mut folders) = (BTreeMap::new(), vec![self.host.path("/etc/systemd/system")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a directory") {
                let path = entry.expect("an entry").path();
                let kind = path.symlink_metadata().expect("it is there");
                if kind.is_dir() {
                    folders.push(path.clone());
                }
                let text =
                    if kind.is_file() { fs::read_to_string(&path).expect("text") } else { String::new() };
                all.insert(path, text);
            }
        }
        all
    }
}

/// The whole way, with a person who changes the unit on it, and with a command that was cut off.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_encryption_comes_and_goes_where_systemd_runs_the_api_server() {
    let scene = Scene::start("").await;
    scene.create_secret("first").await;
    scene.install_plugin("/run/keystead/kms.sock").await;
    let (before, words) = (scene.units(), scene.words().await);
    assert!(words.contains(&HARD_WORD.to_owned()), "{words:?}");
    assert_eq!(scene.stored().await, ["plain"]);

    // Nobody says which unit it is, and no ConfigMap of kubeadm's is there.
    scene.succeeds(&["enable", "--yes", "--endpoint", ENDPOINT]).await;
    let first = scene.stored().await;
    assert!(first.len() == 1 && first[0] != "plain", "{first:?}");
    let with = scene.words().await;
    let added = &with[words.len()..];
    assert!(added[0].starts_with("--encryption-provider-config=/etc/kubernetes/pki/"), "{with:?}");
    assert_eq!(with[..1], words[..1]);
    assert!(words.iter().all(|it| with.contains(it)), "{with:?}");
    let drop_in = scene.read(DROP_IN);
    assert!(drop_in.contains("$KUBE_API_ARGS") && !drop_in.contains("--etcd-servers"), "{drop_in}");
    scene.succeeds(&["verify"]).await;
    let status = scene.succeeds(&["status", "--unit", "kube-apiserver"]).await;
    assert!(!status.contains("was changed"), "{status}");

    scene.key(&["add"]).await;
    scene.key(&["promote", "2"]).await;
    scene.succeeds(&["rotate", "--yes"]).await;
    let second = scene.stored().await;
    assert!(second.len() == 1 && second != first, "{second:?}");

    // A person changes the command, which our drop-in hides; and then does what is said.
    let person =
        scene.read(UNIT).replace("  $KUBE_API_ARGS", "  --max-requests-inflight=401 \\\n  $KUBE_API_ARGS");
    scene.write(UNIT, &person);
    let not_loaded = scene.succeeds(&["status"]).await;
    assert!(not_loaded.contains("systemctl daemon-reload"), "{not_loaded}");
    scene
        .is_refused(
            &["disable", "--yes"],
            "files of kube-apiserver.service were changed since systemd read them",
        )
        .await;
    scene.systemctl(&["daemon-reload"]).await;
    let status = scene.succeeds(&["status"]).await;
    assert!(status.contains("ExecStart= of kube-apiserver.service was changed"), "{status}");
    let kubeconfig = scene.kubeconfig.display().to_string();
    let doctor = scene.keystead(&["doctor", "--kubeconfig", &kubeconfig]).await;
    assert!(doctor.text.contains(&format!("warning {FAULT}")), "{}", doctor.text);
    let digest =
        doctor.text.split("write Replaces=").nth(1).expect("advice").split(' ').next().expect("a digest");
    let old = drop_in.lines().find(|it| it.starts_with("Replaces=")).expect("a digest");
    let mended = drop_in
        .replace(old, &format!("Replaces={digest}"))
        .replace("  \"$KUBE_API_ARGS\"", "  --max-requests-inflight=401 \\\n  \"$KUBE_API_ARGS\"");
    scene.write(DROP_IN, &mended);
    scene.systemctl(&["daemon-reload"]).await;
    scene.systemctl(&["restart", "kube-apiserver.service"]).await;
    ready(&scene.client).await;
    let doctor = scene.keystead(&["doctor", "--kubeconfig", &kubeconfig]).await;
    assert!(!doctor.text.contains(&format!("warning {FAULT}")), "{}", doctor.text);
    assert!(scene.words().await.contains(&"--max-requests-inflight=401".to_owned()));

    // What a person changed stays, and nothing else.
    scene.succeeds(&["disable", "--yes"]).await;
    assert_eq!(scene.stored().await, ["plain"]);
    let mut expected = before.clone();
    expected.insert(scene.host.path(UNIT), person);
    assert_eq!(scene.units(), expected);
    let now = scene.words().await;
    assert!(now.len() == words.len() + 1 && !now.iter().any(|it| it.contains("encryption")), "{now:?}");

    // As a command leaves it that is killed before systemd has read what it wrote.
    let folder = Path::new(DROP_IN).parent().expect("a directory").display().to_string();
    fs::create_dir(scene.host.path(&folder)).expect("a directory");
    // It puts every word in quotes, which a person need not do.
    let of_a_command = mended.replace("  --max-requests-inflight=401 ", "  \"--max-requests-inflight=401\" ");
    scene.write(DROP_IN, &of_a_command);
    scene.succeeds(&["enable", "--yes", "--endpoint", ENDPOINT]).await;
    assert_ne!(scene.stored().await, ["plain"]);
    // That is back to what was found, which had the flags already: nothing is written anew.
    scene.succeeds(&["undo", "--yes"]).await;
    assert_ne!(scene.stored().await, ["plain"]);
    scene.succeeds(&["disable", "--yes"]).await;
    assert_eq!(scene.stored().await, ["plain"]);
    assert_eq!(scene.units(), expected);
}

/// Each is refused with a reason before anything is changed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_what_a_unit_hides_or_does_not_say_is_refused_before_anything_is_changed() {
    let scene = Scene::start("PrivateTmp=yes\nSupplementaryGroups=\n").await;
    scene.create_secret("first").await;
    scene.install_plugin("/run/keystead/kms.sock").await;
    let enable = ["enable", "--yes", "--endpoint", ENDPOINT];
    let before = (scene.units(), scene.words().await);

    scene
        .is_refused(&["enable", "--yes", "--endpoint", "unix:///tmp/keystead/kms.sock"], "PrivateTmp=")
        .await;
    let hidden = [&enable[..], &["--configuration", "/tmp/encryption.yaml"]].concat();
    scene.is_refused(&hidden, "/tmp/encryption.yaml").await;
    scene
        .is_refused(
            &[&enable[..], &["--unit", "etcd.service"]].concat(),
            "does not run kube-apiserver itself",
        )
        .await;
    scene.is_refused(&[&enable[..], &["--unit", "nothing.service"]].concat(), "it is not-found").await;
    let variables = scene.read(VARIABLES);
    scene.write(VARIABLES, &variables.replace("KUBE_API_ARGS=\"", "KUBE_API_ARGS=\"--v=1 "));
    scene.is_refused(&enable, "systemctl restart kube-apiserver.service").await;
    assert_eq!((scene.units(), scene.words().await), before);

    // A script between the two: nobody knows what it adds.
    let unit = scene.read(UNIT);
    scene.write("/usr/local/bin/start-api-server", &format!("#!/bin/sh\nexec {PROGRAM} \"$@\"\n"));
    let script = scene.host.path("/usr/local/bin/start-api-server");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("a mode");
    scene.write(UNIT, &unit.replace(PROGRAM, "/usr/local/bin/start-api-server"));
    scene.systemctl(&["daemon-reload"]).await;
    scene.systemctl(&["restart", "kube-apiserver.service"]).await;
    ready(&scene.client).await;
    scene
        .is_refused(&enable, "does not run kube-apiserver itself, but /usr/local/bin/start-api-server")
        .await;
    scene.write(UNIT, &unit);

    // In a variable the flag is a person's: it is used, and taken away by whoever put it there.
    scene.write(
        VARIABLES,
        &variables.replace(
            "KUBE_API_ARGS=\"",
            "KUBE_API_ARGS=\"--encryption-provider-config=/etc/kubernetes/own.yaml ",
        ),
    );
    scene.write("/etc/kubernetes/own.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - identity: {}\n");
    scene.systemctl(&["daemon-reload"]).await;
    scene.systemctl(&["restart", "kube-apiserver.service"]).await;
    ready(&scene.client).await;
    scene.succeeds(&enable).await;
    assert_ne!(scene.stored().await, ["plain"]);
    assert_eq!(scene.units(), before.0, "the flag is there already");
    scene.is_refused(&["disable", "--yes"], VARIABLES).await;
    assert_eq!(scene.stored().await, ["plain"]);
    scene.write(VARIABLES, &variables);
    scene.systemctl(&["restart", "kube-apiserver.service"]).await;
    ready(&scene.client).await;
    scene.succeeds(&["continue", "--yes"]).await;
}

/// kube-apiserver as somebody else than root gets its file by its group, and is told of where it would not come to the socket.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_an_api_server_that_is_not_root_reads_the_file_by_its_group() {
    let mut scene = Scene::start("").await;
    // Only who reserved a port may share it.
    scene.control_plane.api_servers.clear();
    scene.create_secret("first").await;
    let (user, group) = (65534, 65534);
    scene
        .host
        .told("chown", &["-R", &format!("{user}:{group}"), &scene.directory.path().display().to_string()])
        .await
        .expect("given");
    scene.write(UNIT, &format!("{}User={user}\nGroup={group}\n", scene.read(UNIT)));
    scene.systemctl(&["daemon-reload"]).await;
    scene.systemctl(&["restart", "kube-apiserver.service"]).await;
    ready(&scene.client).await;
    scene.install_plugin("/run/keystead/kms.sock").await;
    let enable = ["enable", "--yes", "--endpoint", ENDPOINT];
    scene.is_refused(&enable, &format!("kube-apiserver is user {user}")).await;
    let override_socket = format!("[Socket]\nSocketMode=0660\nSocketGroup={group}\nDirectoryMode=0755\n");
    let folder = "/etc/systemd/system/keystead-plugin.socket.d";
    fs::create_dir_all(scene.host.path(folder)).expect("a directory");
    scene.write(&format!("{folder}/zz.conf"), &override_socket);
    let environment = scene.read("/etc/keystead/plugin.env");
    scene.write("/etc/keystead/plugin.env", &format!("{environment}KEYSTEAD_ALLOW_UIDS={user}\n"));
    scene.systemctl(&["daemon-reload"]).await;
    scene.systemctl(&["stop", "keystead-plugin.service", "keystead-plugin.socket"]).await;
    scene.host.told("rm", &["-rf", "/run/keystead"]).await.expect("removed");
    scene.systemctl(&["start", "keystead-plugin.socket", "keystead-plugin.service"]).await;
    scene.succeeds(&enable).await;
    assert_ne!(scene.stored().await, ["plain"]);
    let file = fs::metadata(scene.host.path("/etc/kubernetes/pki/encryption-configuration.yaml"))
        .expect("it is there");
    assert_eq!((file.mode() & 0o777, file.uid(), file.gid()), (0o640, 0, group));
}
