//! What goes wrong after the drop-in is written, and where it is written.

use std::fs;
use std::os::unix::fs::symlink;

use super::{DROP_IN, ENDPOINT, FAULT, HARD_FLAG, PROGRAM, Scene, UNIT};
use crate::rollout::fleet::ready;

const FOLDER: &str = "/etc/systemd/system/kube-apiserver.service.d";
/// A refusal of systemd that comes when all is written and read.
const REFUSES: &str = "[Unit]\nRefuseManualStop=yes\n";

impl Scene {
    async fn needs_reload(&self) -> String {
        let args = ["show", "--value", "--property=NeedDaemonReload", "kube-apiserver.service"];
        self.systemctl(&args).await.trim().to_owned()
    }
}

/// systemd, which reads another command than was meant or does not start it, is as it was, and the API server goes on.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_what_systemd_does_not_take_is_taken_back() {
    let scene = Scene::start("").await;
    scene.create_secret("first").await;
    scene.install_plugin("/run/keystead/kms.sock").await;
    let enable = ["enable", "--yes", "--endpoint", ENDPOINT];

    // The same command again, behind ours.
    let unit = scene.read(UNIT);
    let (_, command) = unit.split_once("ExecStart=").expect("a command");
    let (command, _) = command.split_once("\nRestart=").expect("its end");
    fs::create_dir(scene.host.path(FOLDER)).expect("a directory");
    scene.write(&format!("{FOLDER}/60-x.conf"), &format!("[Service]\nExecStart=\nExecStart={command}\n"));
    scene.systemctl(&["daemon-reload"]).await;
    let (before, pid) = (scene.units(), scene.main_process().await);
    scene.is_refused(&enable, "a drop-in behind it with `ExecStart=` may be the reason").await;
    scene.is_refused(&enable, &format!("{DROP_IN} is as it was before")).await;
    assert_eq!((scene.units(), scene.main_process().await), (before, pid.clone()));
    assert_eq!(scene.needs_reload().await, "no");

    fs::remove_file(scene.host.path(&format!("{FOLDER}/60-x.conf"))).expect("removed");
    scene.write(&format!("{FOLDER}/70-refuses.conf"), REFUSES);
    scene.systemctl(&["daemon-reload"]).await;
    let before = scene.units();
    scene.is_refused(&enable, &format!("{DROP_IN} is as it was before")).await;
    assert_eq!((scene.units(), scene.main_process().await), (before, pid));
    assert_eq!(scene.needs_reload().await, "no");
    assert_eq!(scene.stored().await, ["plain"]);

    // Nor is it gone while kube-apiserver still runs with it.
    fs::remove_file(scene.host.path(&format!("{FOLDER}/70-refuses.conf"))).expect("removed");
    scene.systemctl(&["daemon-reload"]).await;
    scene.succeeds(&enable).await;
    let drop_in = scene.read(DROP_IN);
    scene.write(&format!("{FOLDER}/70-refuses.conf"), REFUSES);
    scene.systemctl(&["daemon-reload"]).await;
    scene.is_refused(&["disable", "--yes"], &format!("{DROP_IN} is as it was before")).await;
    assert_eq!(scene.read(DROP_IN), drop_in);
    assert_eq!(scene.needs_reload().await, "no");
    fs::remove_file(scene.host.path(&format!("{FOLDER}/70-refuses.conf"))).expect("removed");
    scene.systemctl(&["daemon-reload"]).await;
    scene.succeeds(&["disable", "--yes"]).await;
    assert_eq!(scene.stored().await, ["plain"]);
    assert!(!scene.host.path(FOLDER).exists(), "nothing else is in it");
}

/// The drop-in and the configuration are on two file systems, and the drop-in's directory is a link. What does not fit is told before
/// anything is written.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_a_drop_in_is_made_beside_its_place() {
    let scene = Scene::start("").await;
    scene.create_secret("first").await;
    scene.install_plugin("/run/keystead/kms.sock").await;
    fs::create_dir(scene.host.path("/etc/units")).expect("a directory");
    symlink("/etc/units", scene.host.path(FOLDER)).expect("linked");
    let before = scene.units();
    let at = |staging| {
        let configuration = "/var/lib/kubernetes/encryption.yaml";
        ["enable", "--yes", "--endpoint", ENDPOINT, "--configuration", configuration, "--staging", staging]
    };
    scene.is_refused(&at("/usr/local/staging"), "is on another file system than").await;
    assert_eq!(scene.units(), before);
    assert!(!scene.host.path("/var/lib/kubernetes").exists());

    scene.succeeds(&at("/var/lib/kubernetes-staging")).await;
    assert_ne!(scene.stored().await, ["plain"]);
    assert!(scene.host.path("/etc/units/50-keystead.conf").is_file());
    let kubeconfig = scene.kubeconfig.display().to_string();
    let staging = [
        "--configuration",
        "/var/lib/kubernetes/encryption.yaml",
        "--staging",
        "/var/lib/kubernetes-staging",
    ];
    let doctor = scene.keystead(&["doctor", "--kubeconfig", &kubeconfig]).await;
    assert!(!doctor.text.contains(&format!("warning {FAULT}")), "{}", doctor.text);
    scene.succeeds(&[&["disable", "--yes"][..], &staging].concat()).await;
    assert_eq!(scene.stored().await, ["plain"]);
    assert_eq!(scene.units(), before);
    let left = fs::read_dir(scene.host.path("/etc/units")).expect("it is there").count();
    assert_eq!(left, 0);
}

/// A command that is killed between the two leaves files that systemd has not read: who only looks leaves it so.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_a_look_reads_nothing_into_systemd() {
    let scene = Scene::start("").await;
    scene.create_secret("first").await;
    scene.install_plugin("/run/keystead/kms.sock").await;
    let before = scene.units();
    scene.succeeds(&["enable", "--yes", "--endpoint", ENDPOINT]).await;
    let drop_in = scene.read(DROP_IN);
    scene.succeeds(&["disable", "--yes"]).await;

    // Written, and not read.
    fs::create_dir(scene.host.path(FOLDER)).expect("a directory");
    scene.write(DROP_IN, &drop_in);
    let status = scene.succeeds(&["status"]).await;
    assert!(status.contains("a reload is pending"), "{status}");
    assert_eq!(scene.needs_reload().await, "yes");
    scene.succeeds(&["enable", "--yes", "--endpoint", ENDPOINT]).await;
    assert_ne!(scene.stored().await, ["plain"]);
    assert_eq!((scene.needs_reload().await, scene.read(DROP_IN)), ("no".to_owned(), drop_in.clone()));

    // Taken away, and not read.
    scene.succeeds(&["disable", "--yes"]).await;
    fs::create_dir(scene.host.path(FOLDER)).expect("a directory");
    scene.write(DROP_IN, &drop_in);
    scene.systemctl(&["daemon-reload"]).await;
    scene.systemctl(&["restart", "kube-apiserver.service"]).await;
    ready(&scene.client).await;
    fs::remove_file(scene.host.path(DROP_IN)).expect("removed");
    fs::remove_dir(scene.host.path(FOLDER)).expect("removed");
    let status = scene.succeeds(&["status"]).await;
    assert!(status.contains("a reload is pending"), "{status}");
    assert_eq!(scene.needs_reload().await, "yes");
    scene.succeeds(&["disable", "--yes"]).await;
    assert_eq!((scene.needs_reload().await, scene.units()), ("no".to_owned(), before));
    let words = scene.words().await;
    assert!(!words.iter().any(|it| it.contains("encryption")), "{words:?}");

    // What a person wrote there is for a person to have read.
    fs::create_dir(scene.host.path(FOLDER)).expect("a directory");
    scene.write(DROP_IN, &format!("[Service]\nExecStart=\nExecStart={PROGRAM} {HARD_FLAG} --v=2\n"));
    scene
        .is_refused(&["enable", "--yes", "--endpoint", ENDPOINT], "then run `systemctl daemon-reload`")
        .await;
    assert_eq!(scene.needs_reload().await, "yes");
}
