//! Agents on control-plane hosts, a real server, real API servers and etcd. Played are the kubelet, which runs API servers and plugins by
//! their manifests, and the host: a directory, which all that runs on it has at one path.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use keystead_testkit::process::Process;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::recording::Recording;
use crate::rollout::fleet::{Fleet, write_private};
use crate::rollout::load::Load;
use crate::scene::{LOCATION, Scene};
use crate::{keystead, stderr};

/// Far more than a start takes: test machines are busy.
const START: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
/// A program is started on a host with the sockets of that host where all hosts have theirs.
const ON_HOST: &str = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";

/// Hosts of one cluster, each with an agent.
struct Hosts {
    scene: Scene,
    agents: BTreeMap<usize, Process>,
    _pods: JoinSet<()>,
    fleet: Fleet,
    /// Where every host has its sockets.
    sockets: PathBuf,
    _directory: tempfile::TempDir,
}

/// As much of a pod's manifest as is played.
#[derive(Deserialize)]
struct Pod {
    spec: PodSpec,
}

#[derive(Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    args: Vec<String>,
    env: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

/// A program as it runs on a host.
fn on_host(host: &Path, sockets: &Path, program: &Path, args: &[String]) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["-m", "sh", "-c", ON_HOST].map(Into::into).to_vec();
    words.extend([host.join("run").into(), sockets.into(), program.into()]);
    words.extend(args.iter().map(Into::into));
    words
}

/// What the manifests of plugins say, until it is dropped.
async fn play_pods(host: PathBuf, sockets: PathBuf) {
    let mut running: BTreeMap<PathBuf, Process> = BTreeMap::new();
    loop {
        let entries = fs::read_dir(host.join("manifests")).expect("manifests");
        let found = entries.map(|entry| entry.expect("an entry").path()).filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("keystead-kms-plugin-"))
        });
        let found: Vec<PathBuf> = found.collect();
        running.retain(|path, _| found.contains(path));
        for path in found {
            if running.contains_key(&path) {
                continue;
            }
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let pod: Pod = serde_saphyr::from_str(&text).expect("a pod");
            let container = &pod.spec.containers[0];
            let mut args: Vec<String> =
                container.env.iter().map(|it| format!("{}={}", it.name, it.value)).collect();
            args.extend([env!("CARGO_BIN_EXE_keystead"), "plugin", "run"].map(str::to_owned));
            // Each host has a loopback address of its own.
            let admin = |it: &String| {
                if it.starts_with("--admin=") { "--admin=127.0.0.1:0".to_owned() } else { it.clone() }
            };
            args.extend(container.args.iter().map(admin));
            // The kubelet makes the directory.
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let words = on_host(&host, &sockets, Path::new("env"), &args);
            let log = host.join(format!("{name}.log"));
            let process = Process::spawn(Path::new("unshare"), &words, &log).await.expect("a plugin");
            running.insert(path, process);
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Hosts {
    async fn start(count: usize) -> Self {
        let scene = Scene::new().await;
        scene.works("services enable container.googleapis.com");
        let directory = tempfile::tempdir().expect("a directory");
        let sockets = directory.path().join("keystead");
        fs::create_dir(&sockets).expect("made");
        let prepare = |host: &Path| {
            for name in ["run", "bin", "agent", "credentials"] {
                fs::create_dir_all(host.join(name)).expect("made");
                fs::set_permissions(host.join(name), fs::Permissions::from_mode(0o700)).expect("a mode");
            }
            let manifest = host.join("manifests/kube-apiserver.yaml");
            let text = fs::read_to_string(&manifest).expect("a manifest");
            let program = text.lines().find_map(|it| it.strip_prefix("    - /")).expect("a program");
            let program = format!("/{program}");
            let script = format!(
                "#!/bin/sh\nexec unshare -m sh -c '{ON_HOST}' {} {} {program} \"$@\"\n",
                host.join("run").display(),
                sockets.display()
            );
            let wrapper = host.join("bin/kube-apiserver");
            fs::write(&wrapper, script).expect("written");
            fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("a mode");
            fs::write(&manifest, text.replacen(&program, &wrapper.display().to_string(), 1))
                .expect("written");
        };
        let fleet = Fleet::start_after("1.37.2", count, prepare).await;
        let mut pods = JoinSet::new();
        for index in 0..count {
            pods.spawn(play_pods(fleet.host(index), sockets.clone()));
            let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {
                "name": format!("host-{index}"), "labels": { "node-role.kubernetes.io/control-plane": "" } } });
            fleet.clients[0].call(Method::POST, "/api/v1/nodes", Some(&node)).await.expect("a node");
        }
        Self { scene, agents: BTreeMap::new(), _pods: pods, fleet, sockets, _directory: directory }
    }

    /// The options of the agent on a host, in its configuration file.
    fn configure(&self, index: usize, more: &str) {
        let host = self.fleet.host(index);
        let host = host.display();
        let text = format!(
            "clusterOptions:\n  - --kubeconfig={host}/kubeconfig\n  - --manifest={host}/manifests/kube-apiserver.yaml\n  \
             - --configuration={host}/pki/encryption-configuration.yaml\n  - --staging={host}/staging\n  - --state={host}/state\n  \
             - --node=host-{index}\npluginOptions:\n  - --as=static-pod\n  - --image-name=played\n  - --manifests={host}/manifests\n  \
             - --staging={host}/staging\n  - --state={host}/state\n  - --tmpfiles={host}/none\nsockets: {}\nstate: {host}/agent\n\
             credentials: {host}/credentials/credentials.json\n{more}",
            self.sockets.display()
        );
        fs::write(self.config(index), text).expect("written");
    }

    fn config(&self, index: usize) -> PathBuf {
        self.fleet.host(index).join("agent.yaml")
    }

    fn invite(&self, index: usize) -> PathBuf {
        let file = self.fleet.host(index).join("join-token");
        drop(fs::remove_file(&file));
        self.scene.works(&format!(
            "container clusters hosts invite host-{index} --cluster prod-a --location {LOCATION} --output-file {}",
            file.display()
        ));
        file
    }

    fn agent(&self, index: usize, words: &[&str]) -> Output {
        let mut command = keystead();
        command.arg("agent").args(words).arg("--config").arg(self.config(index));
        command.output().expect("runs")
    }

    fn join(&self, index: usize, token: &Path) -> Output {
        let authority = self.fleet.host(index).join("ca.pem");
        fs::write(&authority, self.scene.authority()).expect("written");
        let token = token.display().to_string();
        let authority = authority.display().to_string();
        let server = self.scene.endpoint().to_owned();
        self.agent(index, &["join", "--server", &server, "--token-file", &token, "--ca-file", &authority])
    }

    /// The agent runs, until it is killed.
    async fn run(&mut self, index: usize) {
        let host = self.fleet.host(index);
        let args =
            ["agent".to_owned(), "run".to_owned(), format!("--config={}", self.config(index).display())];
        let words = on_host(&host, &self.sockets, Path::new(env!("CARGO_BIN_EXE_keystead")), &args);
        let agent =
            Process::spawn(Path::new("unshare"), &words, &host.join("agent.log")).await.expect("an agent");
        self.agents.insert(index, agent);
    }

    /// Its agent is killed, and runs again with more in its configuration.
    async fn restart(&mut self, index: usize, more: &str) {
        self.agents.remove(&index).expect("it runs").kill().await.expect("killed");
        self.configure(index, more);
        self.run(index).await;
    }

    async fn join_all(&mut self) {
        for index in 0..self.fleet.pods.len() {
            self.configure(index, "");
            let joined = self.join(index, &self.invite(index));
            assert!(joined.status.success(), "{}", stderr(&joined));
            self.run(index).await;
        }
    }

    /// Begins something, and gives the name of the operation.
    fn begin(&self, words: &str) -> String {
        self.scene.works(&format!("container clusters {words} --location {LOCATION} --async"));
        self.operations().pop().expect("one").0
    }

    /// Names and states, the oldest first.
    fn operations(&self) -> Vec<(String, Value)> {
        let listed = self.scene.works("container operations list --format json");
        let listed: Vec<Value> = serde_json::from_str(&listed).expect("a list");
        let mut listed: Vec<_> =
            listed.into_iter().map(|it| (it["name"].as_str().expect("a name").to_owned(), it)).collect();
        listed.sort_by(|one, other| one.0.cmp(&other.0));
        listed
    }

    fn wait(&self, operation: &str) -> Output {
        let words = format!("container operations wait {operation} --location {LOCATION}");
        self.scene.keystead(&words)
    }

    /// Until an operation says what it waits for.
    async fn waits(&self, operation: &str, text: &str) {
        let detail =
            format!("container operations describe {operation} --location {LOCATION} --format value(detail)");
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let said = tokio::task::block_in_place(|| self.scene.works(&detail));
            if said.contains(text) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "it says {said:?}, and never {text:?}\n{}",
                self.logs()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Does something, to its end.
    async fn done(&self, words: &str) {
        let operation = self.begin(words);
        self.ends_well(&operation).await;
    }

    async fn ends_well(&self, operation: &str) {
        let ended = tokio::task::block_in_place(|| self.wait(operation));
        assert!(ended.status.success(), "{}\n{}", stderr(&ended), self.logs());
    }

    async fn logs_say(&self, index: usize, text: &str) {
        let deadline = tokio::time::Instant::now() + START;
        while !fs::read_to_string(self.fleet.host(index).join("agent.log")).unwrap_or_default().contains(text)
        {
            assert!(tokio::time::Instant::now() < deadline, "the agent never says {text:?}\n{}", self.logs());
            tokio::time::sleep(LOOK).await;
        }
    }

    fn logs(&self) -> String {
        let agents = (0..self.fleet.pods.len()).map(|index| {
            let log = fs::read_to_string(self.fleet.host(index).join("agent.log")).unwrap_or_default();
            format!("--- agent of host-{index}\n{log}\n")
        });
        agents.collect()
    }

    /// The one line that says how the cluster is encrypted.
    fn describe(&self) -> String {
        let format = "--format value(databaseEncryption)";
        let text =
            self.scene.works(&format!("container clusters describe prod-a --region {LOCATION} {format}"));
        text.trim_end_matches('\n').to_owned()
    }
}

/// Every stored value is as this key's plugin stores it, or plain.
async fn assert_stored(hosts: &Hosts, plugins: &[String]) {
    assert_eq!(hosts.fleet.stored("secrets").await, plugins, "{}", hosts.logs());
}

/// The entry of the plugin that values are stored with.
async fn stored_with_one(hosts: &Hosts) -> String {
    let mut stored = hosts.fleet.stored("secrets").await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    stored.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the control plane: cargo xtask test"]
async fn c2_c3_c4_c5_c7_c8_c9_c10_p16_one_host_goes_from_plain_to_a_key_its_next_version_another_key_and_back()
 {
    let mut hosts = Hosts::start(1).await;
    hosts.fleet.create_secrets(30).await;
    let load = Load::start(&hosts.fleet.clients, 10).await;
    let (one, other) = (hosts.scene.create_key("key-1"), hosts.scene.create_key("key-2"));
    let create = hosts.begin("create prod-a");
    hosts.configure(0, "");
    // Somebody else's token is none, and a host joins once.
    write_private(
        &hosts.fleet.host(0).join("stolen"),
        "ks_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    );
    let refused = hosts.join(0, &hosts.fleet.host(0).join("stolen"));
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    let token = hosts.invite(0);
    let joined = hosts.join(0, &token);
    assert!(joined.status.success(), "{}", stderr(&joined));
    let again = hosts.join(0, &token);
    assert!(stderr(&again).contains("has joined already"), "{}", stderr(&again));
    hosts.run(0).await;
    hosts.ends_well(&create).await;
    assert_eq!(hosts.describe(), "state=DECRYPTED");

    // What the host itself does not allow is not done, whoever says so.
    hosts.restart(0, "allowed: [plain]\n").await;
    let update = format!("update prod-a --database-encryption-key {one}");
    let pinned = hosts.begin(&update);
    let ended = tokio::task::block_in_place(|| hosts.wait(&pinned));
    assert!(
        stderr(&ended).contains("own configuration does not allow key projects/of-keystead"),
        "{}",
        stderr(&ended)
    );
    // Nor before somebody on the host says yes.
    hosts.restart(0, "requireApproval: true\n").await;
    let approved = hosts.begin(&update);
    hosts.waits(&approved, &format!("keystead agent approve {approved}")).await;
    assert_stored(&hosts, &["identity".to_owned()]).await;
    assert!(hosts.agent(0, &["approve", &approved]).status.success());
    hosts.ends_well(&approved).await;
    hosts.restart(0, "").await;
    let with_one = stored_with_one(&hosts).await;
    assert!(with_one.starts_with("kms:v2:keystead-"), "{with_one}");
    assert_eq!(hosts.describe(), format!("keyName={one};state=ENCRYPTED"));
    let before = hosts.fleet.key_ids().await;
    // The next version, and everything anew.
    hosts.scene.works(&format!(
        "kms keys versions create --key key-1 --keyring keys --location {LOCATION} --primary"
    ));
    hosts.done(&update).await;
    let after = hosts.fleet.key_ids().await;
    assert!(after.len() == 1 && after.is_disjoint(&before), "{before:?} {after:?}");
    // Nothing is left to do, and that is well.
    hosts.done(&update).await;
    // Another key, while the agent is killed and started again.
    let moving = hosts.begin(&format!("update prod-a --database-encryption-key {other}"));
    hosts.restart(0, "").await;
    hosts.ends_well(&moving).await;
    let with_other = stored_with_one(&hosts).await;
    assert_ne!(with_other, with_one);
    assert_eq!(hosts.describe(), format!("keyName={other};state=ENCRYPTED"));
    hosts.done("update prod-a --disable-database-encryption").await;
    assert_stored(&hosts, &["identity".to_owned()]).await;
    assert_eq!(hosts.describe(), "state=DECRYPTED");
    load.stop().await.assert_nothing_lost(&hosts.fleet.clients).await;
    let status = hosts.agent(0, &["status"]);
    assert!(crate::stdout(&status).contains("node         host-0"), "{}", crate::stdout(&status));
    // A certificate that was issued long ago is followed by another one.
    let state = hosts.fleet.host(0).join("agent");
    let certificate = fs::read(state.join("certificate.pem")).expect("a certificate");
    let mut known: Value =
        serde_json::from_slice(&fs::read(state.join("joined.json")).expect("a file")).expect("JSON");
    known["issued"] = json!("2026-01-01T00:00:00Z");
    write_private(&state.join("joined.json"), &known.to_string());
    hosts.restart(0, "").await;
    let deadline = tokio::time::Instant::now() + START;
    while fs::read(state.join("certificate.pem")).expect("a certificate") == certificate {
        assert!(tokio::time::Instant::now() < deadline, "{}", hosts.logs());
        tokio::time::sleep(LOOK).await;
    }
    // One that was removed is nobody, and goes on as it is.
    hosts.scene.works(&format!(
        "container clusters hosts remove host-0 --cluster prod-a --location {LOCATION} --quiet"
    ));
    assert_eq!(
        hosts.scene.works(&format!(
            "container clusters hosts list --cluster prod-a --location {LOCATION} --format value(node)"
        )),
        ""
    );
}

/// An agent's identity for a server that is played, which a loopback address needs no authority for.
fn pretend_to_have_joined(hosts: &Hosts, index: usize, server: &str) {
    let state = hosts.fleet.host(index).join("agent");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem();
    let joined = json!({
        "server": server, "host": "projects/p/locations/l/clusters/c/hosts/host-0123456789abcdef", "node": format!("host-{index}"),
        "issued": jiff::Timestamp::now(), "expires": "2126-01-01T00:00:00Z",
    });
    for (name, text) in [
        ("key.pem", key.serialize_pem()),
        ("certificate.pem", certificate.clone()),
        ("authority.pem", certificate),
        ("joined.json", joined.to_string()),
    ] {
        write_private(&state.join(name), &text);
    }
}

/// A server that belongs to somebody else: whatever it says to one host, everything that is stored stays as it is.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the control plane: cargo xtask test"]
async fn a_hostile_server_brings_about_nothing() {
    let mut hosts = Hosts::start(2).await;
    hosts.fleet.create_secrets(10).await;
    hosts.fleet.succeeds(&["enable", "--yes", "--node", "host-0"]).await;
    let before = [hosts.fleet.manifest(0), hosts.fleet.manifest(1)];
    let tell = |goal: &str, key: &str| json!({ "instruction": { "operation": "operation-1", "goal": goal, "cryptoKey": key }, "reportAfter": "1s" });
    let strange = [
        json!({ "instruction": { "operation": "operation-1", "goal": "WRITE_FILE", "path": "/etc/passwd", "text": "x" } }),
        tell("ENCRYPT", "../../../etc/kubernetes/admin.conf"),
        json!({ "instruction": [1, 2, 3], "reportAfter": "-1s" }),
        json!("nothing"),
    ];
    let answers =
        strange.into_iter().map(|answer| (200, answer)).chain([(500, json!({})), (200, tell("DECRYPT", ""))]);
    let server = Recording::start(answers.collect());
    // One host alone is told to store everything plainly: the part of the other one is missing.
    hosts.configure(0, "");
    pretend_to_have_joined(&hosts, 0, &server.endpoint);
    hosts.run(0).await;
    hosts.logs_say(0, "waits for host-1: run there: ").await;
    // A server that may only say what the host allows.
    let pinned = Recording::start(vec![(200, tell("DECRYPT", ""))]);
    hosts.agents.remove(&0).expect("it runs").kill().await.expect("killed");
    pretend_to_have_joined(&hosts, 0, &pinned.endpoint);
    hosts.configure(0, "allowed: ['projects/prod-keys/locations/*/keyRings/*/cryptoKeys/*']\n");
    hosts.run(0).await;
    let deadline = tokio::time::Instant::now() + START;
    loop {
        let reports = pinned.requests();
        let work = |report: &crate::recording::Request| report.body["report"]["work"].clone();
        if let Some(failed) = reports.iter().map(work).find(|work| work["state"] == "FAILED") {
            assert!(
                failed["detail"]
                    .as_str()
                    .is_some_and(|it| it.contains("does not allow that values are stored plainly")),
                "{failed}"
            );
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", hosts.logs());
        tokio::time::sleep(LOOK).await;
    }
    assert_eq!(before, [hosts.fleet.manifest(0), hosts.fleet.manifest(1)]);
    assert_eq!(hosts.fleet.stored("secrets").await, ["kms:v2:keystead"]);
    for asked in server.requests().iter().chain(&pinned.requests()) {
        assert_eq!(asked.line, "POST /keystead/v1/agent:report");
        assert!(!asked.body.to_string().contains("canary"), "{}", asked.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the control plane and an hour: cargo xtask test --tools"]
async fn c6_c7_c8_c10_three_hosts_with_agents_go_where_the_server_says() {
    let mut hosts = Hosts::start(3).await;
    hosts.fleet.create_secrets(100).await;
    let load = Load::start(&hosts.fleet.clients, 30).await;
    let (one, other) = (hosts.scene.create_key("key-1"), hosts.scene.create_key("key-2"));
    let create = hosts.begin(&format!("create prod-a --database-encryption-key {one}"));
    hosts.join_all().await;
    hosts.ends_well(&create).await;
    let with_one = stored_with_one(&hosts).await;
    // Each agent is killed once, and started again.
    let moving = hosts.begin(&format!("update prod-a --database-encryption-key {other}"));
    for index in 0..3 {
        hosts.restart(index, "").await;
    }
    hosts.ends_well(&moving).await;
    assert_ne!(stored_with_one(&hosts).await, with_one);
    // The next version.
    let before = hosts.fleet.key_ids().await;
    hosts.scene.works(&format!(
        "kms keys versions create --key key-2 --keyring keys --location {LOCATION} --primary"
    ));
    hosts.done(&format!("update prod-a --database-encryption-key {other}")).await;
    assert!(hosts.fleet.key_ids().await.is_disjoint(&before));
    // An agent that is away is waited for by name.
    drop(hosts.agents.remove(&2));
    let off = hosts.begin("update prod-a --disable-database-encryption");
    hosts.run(2).await;
    hosts.ends_well(&off).await;
    assert_stored(&hosts, &["identity".to_owned()]).await;
    load.stop().await.assert_nothing_lost(&hosts.fleet.clients).await;
}
