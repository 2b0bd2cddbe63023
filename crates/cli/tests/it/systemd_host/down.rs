//! A unit without a process: whom it would run as, and what it would start with, is known only as far as it says so.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use keystead_cluster::executor::HostReply;
use keystead_cluster::host::{Answer, Change, Report, Seen, Task};
use keystead_cluster::provider_order::KmsPlugin;
use keystead_cluster::rollout::{Configuration, Order, Provider};

use super::{DROP_IN, ENDPOINT, HARD_WORD, KEYSTEAD, PROGRAM, Scene, UNIT, VARIABLES};
use crate::rollout::fleet::ready;

const CONFIGURATION: &str = "/etc/kubernetes/new/encryption.yaml";
const OTHER: &str = "/etc/systemd/system/other.service";

impl Scene {
    /// What a rollout over ssh does there.
    fn task(&self, task: &Task) -> HostReply {
        let mut command = self.host.command(KEYSTEAD);
        command.args(["cluster", "host", "--configuration", CONFIGURATION]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let text = serde_json::to_vec(task).expect("JSON");
        child.stdin.take().expect("piped").write_all(&text).expect("written");
        let output = child.wait_with_output().expect("ends");
        serde_json::from_slice(&output.stdout).expect("an answer")
    }

    fn look(&self) -> Result<Report, String> {
        let task = Task::Look { resources: vec!["secrets".into()], plugins: vec![plugin()] };
        match self.task(&task) {
            HostReply::Answer(Answer::Report(report)) => Ok(*report),
            HostReply::Failed(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    fn change(&self, change: Change, seen: Seen) -> Result<(), String> {
        match self.task(&Task::Change { change, seen }) {
            HostReply::Answer(Answer::Done) => Ok(()),
            HostReply::Failed(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    /// It is plain, and is to write with the plugin.
    fn write_order(&self) -> Result<(), String> {
        let order = Order { writer: provider(), readers: vec![Provider::Identity] };
        let change = Change::Write { resources: vec!["secrets".into()], order, plugins: vec![plugin()] };
        self.change(change, self.look()?.seen)
    }

    async fn stop(&self) {
        self.systemctl(&["stop", "kube-apiserver.service"]).await;
    }

    async fn starts(&self) {
        self.systemctl(&["start", "kube-apiserver.service"]).await;
        ready(&self.client).await;
    }
}

fn provider() -> Provider {
    Provider::KmsV2 { name: "kms".to_owned() }
}

fn plugin() -> KmsPlugin {
    KmsPlugin { provider: provider(), endpoint: ENDPOINT.to_owned(), timeout: None }
}

/// The reason for which the plugin's proof does not count.
fn refusal(report: &Report) -> &str {
    report.plugins[0].probe.as_ref().expect_err("it does not count")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_a_unit_that_is_down_is_changed_only_as_far_as_it_is_known() {
    let scene = Scene::start("").await;
    scene.install_plugin("/run/keystead/kms.sock").await;
    let (unit, before) = (scene.read(UNIT), scene.units());
    assert!(scene.look().expect("it runs").minor.is_some());
    // Another program has that name now: it is not run.
    scene.host.told("cp", &[PROGRAM, "/usr/local/bin/new"]).await.expect("copied");
    scene.host.told("mv", &["/usr/local/bin/new", PROGRAM]).await.expect("moved");
    assert_eq!(scene.look().expect("it runs").minor, None);

    // Without our drop-in it is as it was, whatever its variables are.
    scene.write_order().expect("it runs");
    ready(&scene.client).await;
    assert!(scene.read(DROP_IN).contains("$KUBE_API_ARGS"));
    scene.stop().await;
    let change = Change::RemoveFlag { resources: vec!["secrets".into()] };
    scene.change(change, scene.look().expect("read").seen).expect("nothing need be known");
    ready(&scene.client).await;
    assert_eq!(scene.units(), before);

    // For a new command they may have been understood in another way.
    scene.stop().await;
    let refused = scene.write_order().expect_err("it has variables");
    assert!(refused.contains("depends on variables that only a running process tells"), "{refused}");
    assert!(refused.contains("it is inactive"), "{refused}");
    assert_eq!(scene.units(), before);

    // A dollar is none.
    let flags = scene.read(VARIABLES).replace("KUBE_API_ARGS=\"", "").replace("\"\n", "");
    scene.write(UNIT, &unit.replace("$KUBE_API_ARGS", &flags));
    scene.systemctl(&["daemon-reload"]).await;
    scene.write_order().expect("all is known");
    ready(&scene.client).await;
    let words = scene.words().await;
    assert!(words.contains(&HARD_WORD.to_owned()), "{words:?}");
    assert!(words.contains(&format!("--encryption-provider-config={CONFIGURATION}")), "{words:?}");
}

/// What `User=` says counts as long as nothing runs, and one whom nobody knows is not root.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_a_unit_that_is_down_runs_as_its_user() {
    let scene = Scene::start("").await;
    scene.install_plugin("/run/keystead/kms.sock").await;
    let unit = scene.read(UNIT);
    let flags = scene.read(VARIABLES).replace("KUBE_API_ARGS=\"", "").replace("\"\n", "");
    let unit = unit.replace("$KUBE_API_ARGS", &flags);
    scene.stop().await;
    scene.write(UNIT, &unit);
    scene.systemctl(&["daemon-reload"]).await;
    assert!(scene.look().expect("read").plugins[0].probe.is_ok(), "root may");
    for (user, why) in [
        ("User=nobody\n", "kube-apiserver is user 65534, by `User=` of kube-apiserver.service, and may not"),
        ("User=65534\n", "kube-apiserver is user 65534, by `User=` of kube-apiserver.service, and may not"),
        ("User=no-such-user\n", "as `User=no-such-user` of kube-apiserver.service says"),
        ("DynamicUser=yes\n", "as `DynamicUser=yes` of kube-apiserver.service says"),
    ] {
        scene.write(UNIT, &format!("{unit}{user}"));
        scene.systemctl(&["daemon-reload"]).await;
        let report = scene.look().expect("read");
        assert!(refusal(&report).contains(why), "{user}: {}", refusal(&report));
        assert_eq!(report.on_disk, Ok(Configuration::NoEncryption), "{user}");
        let refused = scene.write_order().expect_err("refused");
        assert!(refused.contains(why), "{user}: {refused}");
        assert!(!scene.host.path("/etc/kubernetes/new").exists(), "{user}");
    }

    // Whoever owns the directory finds the file with the group that it is for, and root's.
    scene.write(UNIT, &format!("{unit}User=nobody\nGroup=daemon\n"));
    scene.systemctl(&["daemon-reload"]).await;
    scene.host.told("chmod", &["0755", "/run/keystead"]).await.expect("opened");
    scene.host.told("chmod", &["0666", "/run/keystead/kms.sock"]).await.expect("opened");
    scene.write_order().expect("it may");
    let looks = ["--format=%a %U %G", CONFIGURATION];
    assert_eq!(scene.host.told("stat", &looks).await.expect("it is there"), "640 root daemon\n");
}

/// Of several units the one that has our drop-in is meant, also while none runs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_the_unit_with_our_drop_in_is_meant_while_it_is_down() {
    let scene = Scene::start("").await;
    scene.install_plugin("/run/keystead/kms.sock").await;
    // systemd knows of units that others want.
    scene.write(OTHER, &format!("[Service]\nExecStart={PROGRAM} --v=1\n[Install]\nWantedBy=etcd.service\n"));
    let wants = "/etc/systemd/system/etcd.service.wants";
    fs::create_dir(scene.host.path(wants)).expect("a directory");
    for name in ["other.service", "kube-apiserver.service"] {
        let link = scene.host.path(&format!("{wants}/{name}"));
        std::os::unix::fs::symlink(format!("/etc/systemd/system/{name}"), link).expect("linked");
    }
    scene.systemctl(&["daemon-reload"]).await;
    scene.write_order().expect("one runs");
    ready(&scene.client).await;
    scene.stop().await;
    assert!(scene.look().expect("the one with the drop-in").has_flag);
    let change = Change::RemoveFlag { resources: vec!["secrets".into()] };
    scene.change(change, scene.look().expect("read").seen).expect("removed");
    ready(&scene.client).await;
    scene.stop().await;
    let refused = scene.look().expect_err("several");
    assert!(
        refused.contains("several kube-apiservers: kube-apiserver.service, other.service: name the one"),
        "{refused}"
    );
    scene.starts().await;
    assert!(!scene.look().expect("the one that runs").has_flag);
}
