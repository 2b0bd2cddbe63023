//! Faults of a running control plane: two hosts with an API server and a plugin each, and one etcd.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use keystead_proto::etcd::alarm_request::AlarmAction;
use keystead_proto::etcd::kv_client::KvClient;
use keystead_proto::etcd::maintenance_client::MaintenanceClient;
use keystead_proto::etcd::{AlarmRequest, AlarmType, PutRequest, RangeRequest};
use keystead_testkit::control_plane::{ControlPlane, Options};
use prost::Message;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

use super::{Finding, Told, follow};
use crate::keystead;
use crate::rollout::fleet::{Fleet, make_key, plugin_key, ready, replace, start_plugin};

/// What is made here, in this order.
pub(super) const FAULTS: [&str; 21] = [
    "rollout-unfinished",
    "kubeadm-without-flag",
    "clock-off",
    "configuration-overwritten",
    "provider-renamed",
    "plugin-not-first",
    "identity-first",
    "reload-failed",
    "kms-v1-cache",
    "stored-plain",
    "stored-damaged",
    "etcd-alarm",
    "etcd-down",
    "api-server-down",
    "etcd-of-another-cluster",
    "plugin-unhealthy",
    "plugin-other-key",
    "key-id-not-seen",
    "key-ids-differ",
    "stored-under-old-key",
    "restart-needed",
];

/// Far more than anything takes, also on a busy machine: kube-apiserver asks its plugins and looks at its file once a minute.
const PATIENCE: Duration = Duration::from_secs(600);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// The hosts, and which faults were found and mended.
struct Course {
    fleet: Fleet,
    done: Vec<&'static str>,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane and libfaketime: cargo xtask test"]
async fn every_fault_of_a_control_plane_is_found_and_gone_after_its_advice() {
    let fleet = Fleet::start("1.37.2", 2).await;
    fleet.create_secrets(20).await;
    let mut course = Course { fleet, done: Vec::new() };
    course.put_keystead_on_path();
    let plain = course.value(SECRET).await;

    let first = course.cut_a_rollout().await;
    let cut = course.found("rollout-unfinished").await;
    // An API server looks at its file once a minute, or when it starts.
    course.restart(first).await;
    let path = course.path();
    let follower = thread::spawn(move || cut.iter().for_each(|it| follow(&it.advice, &path)));
    let second = course.encrypts(&[1 - first]).await;
    course.restart(second).await;
    follower.join().expect("followed");
    course.gone("rollout-unfinished").await;

    // What the test kit leaves readable is not what this test is about.
    for it in course.doctor().findings("private-key-readable") {
        follow(&it.advice, &course.path());
    }
    let well = course.doctor();
    assert_eq!(well.state("private-key-readable"), "ok", "{:#}", well.report);
    assert_eq!(well.found(), BTreeSet::new(), "{:#}", well.report);
    assert_eq!(well.code, Some(0), "{}", well.stderr);

    course.fleet.create_kubeadm_config().await;
    let lost = course.found("kubeadm-without-flag").await;
    course.follow(&lost);
    course.gone("kubeadm-without-flag").await;

    let library = std::env::var("KEYSTEAD_FAKETIME").expect("KEYSTEAD_FAKETIME: cargo xtask test");
    let mut ahead = course.command();
    ahead.env("LD_PRELOAD", library).env("FAKETIME", "+60s").env("DONT_FAKE_MONOTONIC", "1");
    let ahead = Told::of(ahead);
    let findings = ahead.findings("clock-off");
    assert!(findings.iter().any(|it| it.evidence.contains("ahead of")), "{:#}", ahead.report);
    course.gone("clock-off").await;

    course.in_the_file().await;
    course.in_etcd(&plain).await;
    course.in_plugins().await;
    course.in_api_servers().await;
    assert_eq!(course.done, FAULTS);
}

/// One of those that were stored before encryption was switched on.
const SECRET: &str = "/registry/secrets/default/s-0003";

impl Course {
    /// An installer writes its own file, or a person edits it. Nobody waits for a reload: the next start would use it.
    async fn in_the_file(&mut self) {
        let file = self.fleet.host(0).join("pki/encryption-configuration.yaml");
        let good = fs::read_to_string(&file).expect("a configuration");
        let (head, providers) = good.split_once("providers:\n").expect("providers");
        let static_key = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTAwMDA=";
        let indent = &providers[..providers.find('-').expect("a list")];
        let key = format!("{indent}- aescbc: {{keys: [{{name: k1, secret: {static_key}}}]}}\n");
        let identity = format!("{indent}- identity: {{}}\n");
        let with = |lines: String| format!("{head}providers:\n{lines}");
        let reordered = format!("{identity}{}", providers.replace(&identity, ""));
        assert_ne!(reordered, providers);
        let dead =
            format!("{indent}- kms: {{apiVersion: v2, name: dead, endpoint: 'unix:///nowhere/kms.sock'}}\n");
        for (id, severity, bad) in [
            ("configuration-overwritten", "error", with(format!("{key}{identity}"))),
            ("provider-renamed", "error", good.replace("name: keystead", "name: renamed")),
            ("plugin-not-first", "error", with(format!("{key}{providers}"))),
            ("identity-first", "error", with(reordered)),
            // A file is loaded only if every plugin of it is well, and is looked at once a minute.
            ("reload-failed", "warning", with(format!("{providers}{dead}"))),
        ] {
            assert_ne!(bad, good, "{id}");
            write(&file, &bad);
            let found = self.found(id).await;
            assert!(found.iter().all(|it| it.severity == severity), "{found:?}");
            write(&file, &good);
            if id == "identity-first" {
                self.follow(&found);
            }
            self.gone(id).await;
        }

        let v1 = |more: &str| {
            format!(
                "{indent}- kms: {{apiVersion: v1, name: old, endpoint: 'unix:///nowhere/old.sock'{more}}}\n"
            )
        };
        let stored = ["/registry/secrets/default/v1-a", "/registry/secrets/default/v1-b"];
        for key in stored {
            // A wrapped data key of 16 bytes, and what is sealed under it.
            let value = [b"k8s:enc:kms:v1:old:\x00\x10".as_slice(), &[7; 16], &[9; 48]].concat();
            self.put(key, &value).await;
        }
        write(&file, &with(format!("{providers}{}", v1(", cachesize: 1"))));
        let found = self.found("kms-v1-cache").await;
        assert!(found[0].evidence.contains("2 values") && found[0].severity == "warning", "{found:?}");
        write(&file, &with(format!("{providers}{}", v1(", cachesize: 1000"))));
        self.gone("kms-v1-cache").await;
        for key in stored {
            self.delete(key).await;
        }
        write(&file, &good);
    }

    async fn in_etcd(&mut self, plain: &[u8]) {
        self.put(SECRET, plain).await;
        let found = self.found("stored-plain").await;
        assert!(found[0].evidence.starts_with("1 secrets"), "{found:?}");
        let bundle = self.fleet.directory().join("bundle.json");
        let mut command = self.command();
        let output = command.arg("--bundle").arg(&bundle).output().expect("runs");
        let bundle = fs::read_to_string(bundle).expect("a bundle");
        assert!(bundle.contains("stored-plain"), "{bundle}");
        for text in [bundle, crate::stdout(&output), crate::stderr(&output)] {
            // The value of every Secret here.
            assert!(!text.contains("canary"), "{text}");
        }
        self.follow(&found);
        self.gone("stored-plain").await;

        let broken = "/registry/secrets/default/broken";
        self.put(broken, b"k8s:enc:kms:v2:keystead:nothing of the kind").await;
        let found = self.found("stored-damaged").await;
        self.follow(&found);
        self.delete(broken).await;
        self.gone("stored-damaged").await;

        self.alarm(AlarmAction::Activate).await;
        self.found("etcd-alarm").await;
        self.alarm(AlarmAction::Deactivate).await;
        self.gone("etcd-alarm").await;

        let etcd = self.fleet.etcd().pid();
        signal(etcd, Signal::STOP);
        let frozen = self.doctor();
        signal(etcd, Signal::CONT);
        for id in ["etcd-down", "api-server-down"] {
            assert_eq!(frozen.state(id), "error", "{:#}", frozen.report);
        }
        assert_eq!(frozen.state("plugin-unhealthy"), "ok", "{:#}", frozen.report);
        assert_eq!(frozen.state("stored-plain"), "not_checked", "{:#}", frozen.report);
        self.gone("etcd-down").await;
        self.gone("api-server-down").await;

        let other = ControlPlane::start(Options::default()).await.expect("another cluster");
        let kubeconfig = other.directory().join("kubeconfig");
        let server = &other.api_servers[0];
        fs::write(&kubeconfig, server.kubeconfig(server.token())).expect("written");
        let astray = Told::of(self.command_as(&kubeconfig));
        assert_eq!(astray.state("etcd-of-another-cluster"), "error", "{:#}", astray.report);
        self.gone("etcd-of-another-cluster").await;
    }

    async fn in_plugins(&mut self) {
        let host = self.fleet.host(0);
        let stop = async |it: &mut Self| it.fleet.plugins[0].stop(PATIENCE).await.expect("stopped");
        stop(self).await;
        self.found("plugin-unhealthy").await;
        self.fleet.plugins[0] = start_plugin(&host).await;
        self.gone("plugin-unhealthy").await;

        stop(self).await;
        let (key, kept) = (host.join("plugin/key"), host.join("plugin/kept"));
        fs::rename(&key, &kept).expect("moved");
        make_key(&key);
        self.fleet.plugins[0] = start_plugin(&host).await;
        self.found("plugin-other-key").await;
        stop(self).await;
        fs::rename(&kept, &key).expect("moved");
        self.fleet.plugins[0] = start_plugin(&host).await;
        self.gone("plugin-other-key").await;
    }

    async fn in_api_servers(&mut self) {
        let [key, other] = [0, 1].map(|it| self.fleet.host(it).join("plugin/key"));
        plugin_key(&["add"], &key);
        replace(&key, &other);
        plugin_key(&["promote", "2"], &key);
        self.found("key-id-not-seen").await;
        // The one of this host sees it, and the other one does not.
        self.restart(0).await;
        self.found("key-ids-differ").await;
        let old = self.found("stored-under-old-key").await;
        replace(&key, &other);
        self.restart(1).await;
        self.follow(&old);
        self.gone("key-id-not-seen").await;
        self.gone("key-ids-differ").await;
        self.gone("stored-under-old-key").await;

        let manifest = self.fleet.host(0).join("manifests/kube-apiserver.yaml");
        let text = self.fleet.manifest(0);
        let reload = text.lines().find(|it| it.contains("automatic-reload")).expect("the flag");
        let starts = self.fleet.pods[0].starts();
        edit(&manifest, &text.replace(&format!("{reload}\n"), ""));
        self.started(0, starts).await;
        let file = self.fleet.host(0).join("pki/encryption-configuration.yaml");
        let good = fs::read_to_string(&file).expect("a configuration");
        write(&file, &format!("{good}# edited\n"));
        self.found("restart-needed").await;
        let away = self.fleet.host(0).join("staging/kube-apiserver.yaml");
        let starts = self.fleet.pods[0].starts();
        fs::rename(&manifest, &away).expect("moved");
        let deadline = Instant::now() + PATIENCE;
        while self.fleet.pods[0].pid().is_some() {
            assert!(Instant::now() < deadline, "the API server does not end");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        fs::rename(&away, &manifest).expect("moved");
        self.started(0, starts).await;
        self.gone("restart-needed").await;
    }

    /// Looks until it is found.
    async fn found(&mut self, id: &'static str) -> Vec<Finding> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.doctor();
            let findings = told.findings(id);
            if !findings.is_empty() {
                return findings;
            }
            assert!(Instant::now() < deadline, "{id} was not found: {:#}", told.report);
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Looks until it is well.
    async fn gone(&mut self, id: &'static str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.doctor();
            if told.state(id) == "ok" {
                self.done.push(id);
                return;
            }
            assert!(Instant::now() < deadline, "{id} does not go: {:#}", told.check(id));
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    fn follow(&self, findings: &[Finding]) {
        findings.iter().for_each(|it| follow(&it.advice, &self.path()));
    }

    fn doctor(&self) -> Told {
        Told::of(self.command())
    }

    fn command(&self) -> Command {
        self.command_as(self.fleet.kubeconfig())
    }

    fn command_as(&self, kubeconfig: &Path) -> Command {
        let mut command = keystead();
        command.env_remove("KUBECONFIG").arg("doctor").args(self.local_as(kubeconfig));
        command
    }

    /// What the first host is, for every command that asks.
    fn local(&self) -> Vec<String> {
        self.local_as(self.fleet.kubeconfig())
    }

    fn local_as(&self, kubeconfig: &Path) -> Vec<String> {
        let host = self.fleet.host(0);
        let path = |flag: &str, path: PathBuf| [flag.to_owned(), path.display().to_string()];
        [
            path("--kubeconfig", kubeconfig.to_owned()),
            path("--manifest", host.join("manifests/kube-apiserver.yaml")),
            path("--configuration", host.join("pki/encryption-configuration.yaml")),
            path("--staging", host.join("staging")),
            path("--state", host.join("state")),
        ]
        .concat()
    }

    /// `keystead` as a person on the first host has it, where every path is its default.
    fn put_keystead_on_path(&self) {
        let program = env!("CARGO_BIN_EXE_keystead");
        let others = format!("--over ssh --remote-program {program} --host host-1");
        let script = format!(
            "#!/bin/sh\ncase \"$2\" in\ninventory) exec {program} \"$@\" --endpoints {} ;;\n*) exec {program} \"$@\" {} {others} ;;\nesac\n",
            self.fleet.etcd().url(),
            self.local().join(" ")
        );
        let path = self.fleet.directory().join("bin/keystead");
        fs::write(&path, script).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.fleet.directory().join("bin").display())
    }

    /// Begins to switch encryption on, and is killed when the first host has its last file, which its API server did not read yet; which host.
    async fn cut_a_rollout(&self) -> usize {
        let command = self.fleet.command(&["enable", "--keep-identity", "--yes"]);
        let mut command = tokio::process::Command::from(command);
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("runs");
        let first = self.encrypts(&[0, 1]).await;
        child.kill().await.expect("killed");
        first
    }

    /// Waits until the file of one of these hosts has the plugin first.
    async fn encrypts(&self, hosts: &[usize]) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = hosts.iter().find(|index| {
                let file = self.fleet.host(**index).join("pki/encryption-configuration.yaml");
                let text = fs::read_to_string(file).unwrap_or_default();
                text.find("kms:").is_some_and(|at| at < text.find("identity:").unwrap_or(0))
            });
            if let Some(index) = found {
                return *index;
            }
            assert!(Instant::now() < deadline, "the files are not written");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Without a farewell: the kubelet starts it again.
    async fn restart(&self, index: usize) {
        let starts = self.fleet.pods[index].starts();
        signal(self.fleet.pods[index].pid().expect("it runs"), Signal::KILL);
        self.started(index, starts).await;
    }

    /// Waits for one more start than there were.
    async fn started(&self, index: usize, starts: u32) {
        let deadline = Instant::now() + PATIENCE;
        while self.fleet.pods[index].starts() <= starts {
            assert!(Instant::now() < deadline, "the API server does not start");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        ready(&self.fleet.clients[index]).await;
    }

    async fn etcd(&self) -> Channel {
        let url = self.fleet.etcd().url().to_owned();
        Endpoint::from_shared(url).expect("an address").connect().await.expect("etcd")
    }

    async fn value(&self, key: &str) -> Vec<u8> {
        let request = RangeRequest { key: key.into(), ..Default::default() };
        let answer = KvClient::new(self.etcd().await).range(request).await.expect("read").into_inner();
        answer.kvs.into_iter().next().expect("it is there").value
    }

    async fn put(&self, key: &str, value: &[u8]) {
        let request = PutRequest { key: key.into(), value: value.to_vec() };
        KvClient::new(self.etcd().await).put(request).await.expect("written");
    }

    async fn delete(&self, key: &str) {
        #[derive(Clone, PartialEq, Message)]
        struct DeleteRangeRequest {
            #[prost(bytes, tag = "1")]
            key: Vec<u8>,
        }
        let mut client = Grpc::new(self.etcd().await);
        client.ready().await.expect("ready");
        let codec = tonic_prost::ProstCodec::<DeleteRangeRequest, ()>::default();
        let call = "/etcdserverpb.KV/DeleteRange".parse().expect("a path");
        let request = tonic::Request::new(DeleteRangeRequest { key: key.into() });
        client.unary(request, call, codec).await.expect("deleted");
    }

    /// As etcd does when its database is full, and as `etcdctl alarm disarm`.
    async fn alarm(&self, action: AlarmAction) {
        let request = AlarmRequest { action: action.into(), alarm: AlarmType::Nospace.into(), member_id: 0 };
        MaintenanceClient::new(self.etcd().await).alarm(request).await.expect("answered");
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a number")).expect("not zero");
    kill_process(pid, signal).expect("it runs");
}

/// By rename, as an editor or an installer does, from beside the manifests.
fn edit(path: &Path, text: &str) {
    let new = path.parent().and_then(Path::parent).expect("a directory").join("edited");
    write(&new, text);
    fs::rename(new, path).expect("renamed");
}

/// With the mode of a file for root.
fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("writes");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
}
