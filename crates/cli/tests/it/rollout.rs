//! `keystead cluster enable` and its kind, with real API servers, etcd and plugins. Played are the kubelet, and ssh with the hosts behind
//! it: every host is a directory of this machine, and what goes to another host has the paths of that host.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

pub(crate) mod fleet;
pub(crate) mod load;
mod new_version;
mod parts;
mod two_drivers;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fleet::Fleet;
use load::Load;

use crate::{keystead, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k7_k8_one_host_from_plain_to_encrypted_to_another_key_and_back() {
    let fleet = Fleet::start("1.37.2", 1).await;
    fleet.create_secrets(50).await;
    let (key, public) = (fleet.path("evidence.key"), fleet.path("evidence.pem"));
    let made = keystead().args(["cluster", "evidence", "create-key", &key, "--public-key", &public]).output();
    assert!(made.expect("runs").status.success());
    let report = fleet.path("evidence.jsonl");
    let signed = ["verify", "--evidence", &report, "--signing-key", &key];
    let plain = fleet.keystead(&signed).await;
    assert_eq!(plain.code, Some(6), "nothing is encrypted: {plain}");
    let check = ["cluster", "evidence", "check", &report, "--public-key", &public];
    let checked = keystead().args(check).output().expect("runs");
    assert_eq!(checked.status.code(), Some(6), "it is written all the same: {}", stderr(&checked));
    assert!(
        stdout(&checked).contains("broken: the API servers' files encrypt nothing"),
        "{}",
        stdout(&checked)
    );
    let program = env!("CARGO_BIN_EXE_keystead");
    let twice = ["enable", "--over", "ssh", "--host", "host-0", "--remote-program", program];
    let twice = fleet.keystead(&twice).await;
    assert_eq!(twice.code, Some(2), "the same host under two names: {twice}");
    assert!(twice.stderr.contains("have the same address"), "{twice}");
    let nowhere = fleet.keystead(&["migrate", "--to", "kms:v2:b", "--endpoint", "tcp://127.0.0.1:1"]).await;
    assert_eq!(nowhere.code, Some(2), "{nowhere}");
    let kubeadm = fleet.create_kubeadm_config().await;
    let planned = fleet.succeeds(&["enable", "--dry-run"]).await;
    assert!(planned.stderr.contains("+    - name: encryption-provider-config"), "{planned}");
    assert_eq!(fleet.kubeadm_config().await, kubeadm);

    // A static pod of this socket says that its key service is a Service of the cluster.
    let manifest = fleet.path("host-0/manifests/kms-plugin.yaml");
    let socket = fleet.endpoint();
    let args = format!("[--socket={socket}, '--kms-endpoint=https://kms.keystead.svc:8443']");
    let pod = format!("kind: Pod\nspec: {{containers: [{{image: 'keystead-plugin:1', args: {args}}}]}}\n");
    std::fs::write(&manifest, pod).expect("written");
    let behind = fleet.keystead(&["enable", "--yes"]).await;
    assert_eq!(behind.code, Some(1), "{behind}");
    assert!(behind.stderr.contains("only through the cluster that it would protect"), "{behind}");
    assert!(behind.stderr.contains("kms.keystead.svc"), "{behind}");
    std::fs::remove_file(&manifest).expect("removed");

    // Nothing is done without being told so.
    let told = fleet.keystead(&["enable"]).await;
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("--yes"), "{told}");
    assert_eq!(fleet.pods[0].starts(), 1);

    let load = Load::start(&fleet.clients, 20).await;
    let both = ["enable", "--resource", "secrets", "--resource", "configmaps", "--yes"];
    let enabled = fleet.succeeds(&both).await;
    assert_eq!(fleet.stored("secrets").await, ["kms:v2:keystead"]);
    assert_eq!(fleet.stored("configmaps").await, ["kms:v2:keystead"]);
    assert_eq!(fleet.pods[0].starts(), 2, "the flag needs one start, everything else is reloaded");
    let kept = fleet.kubeadm_config().await;
    assert!(
        kept.contains("encryption-provider-config") && kept.contains("kms-plugin-socket"),
        "{kept}\n{enabled}"
    );
    let again = fleet.keystead(&signed).await;
    assert_eq!(again.code, Some(1), "the first report stays: {again}");
    let verified = fleet.succeeds(&[&signed[..], &["--replace"]].concat()).await;
    assert!(verified.stdout.contains("it holds"), "{verified}");
    let checked = keystead().args(check).output().expect("runs");
    let said = stdout(&checked);
    assert!(
        checked.status.success() && said.contains("uses [kms:v2:keystead]"),
        "{said}{}",
        stderr(&checked)
    );
    assert!(said.contains("v1.37.2") && said.contains(" 0 plain, 0 unreadable"), "{said}");
    let evidence = std::fs::read_to_string(&report).expect("text");
    let line = evidence.lines().next().expect("a report");
    let seen: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let server = &seen["api_servers"][0];
    assert!(server["configuration_in_use"].is_string(), "{seen}");
    assert_eq!(server["configuration_in_use"], server["configuration_file"], "{seen}");
    assert_eq!(server["plugins"][0]["key_id"], seen["stored"][0]["ways"][0]["key_id"], "{seen}");
    assert!(!evidence.contains("s-00") && !evidence.contains("canary"), "an object is named: {evidence}");
    let undo = fleet.keystead(&["undo", "--yes"]).await;
    assert_eq!(undo.code, Some(1), "what is encrypted could not be read: {undo}");
    assert!(undo.stderr.contains("keystead cluster disable"), "{undo}");

    a_host_that_joins_gets_the_same_file(&fleet).await;

    fleet.rotate_keys();
    fleet.succeeds(&["rotate", "--yes"]).await;
    assert_eq!(fleet.key_ids().await.len(), 1, "everything is under one key");

    fleet.succeeds(&["disable", "--yes"]).await;
    assert_eq!(fleet.stored("secrets").await, ["identity"]);
    let manifest = fleet.manifest(0);
    assert!(!manifest.contains("encryption") && !manifest.contains("kms-plugin-socket"), "{manifest}");
    assert_eq!(fleet.kubeadm_config().await, kubeadm);
    load.stop().await.assert_nothing_lost(&fleet.clients).await;
}

async fn a_host_that_joins_gets_the_same_file(fleet: &Fleet) {
    let prepare = async |host: &str, more: &[&str]| {
        let program = env!("CARGO_BIN_EXE_keystead");
        let args = ["prepare-host", "--over", "ssh", "--remote-program", program, "--host", host];
        fleet.keystead(&[&args, more].concat()).await
    };
    let (stranger, _plugin) = fleet.newcomer("stranger", false).await;
    let refused = prepare("stranger", &["--yes"]).await;
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("on stranger does not unwrap what is wrapped here"), "{refused}");
    assert!(!stranger.join(FILE).exists());

    let (joins, _plugin) = fleet.newcomer("joins", true).await;
    assert_eq!(prepare("joins", &[]).await.code, Some(1), "nothing is done without --yes");
    assert!(!joins.join(FILE).exists());
    let done = prepare("joins", &["--yes"]).await;
    assert_eq!(done.code, Some(0), "{done}");
    let read = |host: &Path| std::fs::read_to_string(host.join(FILE)).expect("a file");
    // ssh is played by renaming the hosts' directories.
    assert_eq!(read(&joins).replace("/joins/", "/host-0/"), read(&fleet.directory().join("host-0")));
    assert_eq!(joins.join(FILE).metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    std::fs::write(joins.join(FILE), "# Another one.").expect("written");
    let other = prepare("joins", &["--yes"]).await;
    assert!(other.code == Some(1) && other.stderr.contains("joins has another"), "{other}");
}

/// Below a host's directory.
const FILE: &str = "pki/encryption-configuration.yaml";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k8_three_api_servers_under_load() {
    let fleet = Fleet::start("1.37.2", 3).await;
    fleet.create_secrets(200).await;
    let load = Load::start(&fleet.clients, 60).await;
    fleet.succeeds(&["enable", "--yes"]).await;
    assert_eq!(fleet.stored("secrets").await, ["kms:v2:keystead"]);
    // Hosts that are known and not named may write in any way.
    assert_eq!(fleet.alone(&["verify"]).await.code, Some(6));
    let told = fleet.alone(&["disable", "--yes"]).await;
    assert_eq!(told.code, Some(2), "{told}");
    assert!(told.stderr.contains("host-1") && told.stderr.contains("host-2"), "{told}");
    load.stop().await.assert_nothing_lost(&fleet.clients).await;
}

/// An API server that does not say which file it uses is restarted for each step.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k7_k8_older_api_servers_from_kms_v1_to_v2_with_a_command_that_is_killed() {
    let fleet = Fleet::start("1.31.0", 3).await;
    fleet.create_secrets(100).await;
    let load = Load::start(&fleet.clients, 30).await;
    let enable = ["enable", "--kms-version", "v1", "--name", "old", "--yes"];
    let kills = fleet.succeeds_although_killed(&enable, |at| at * 2, false).await;
    assert!(kills > 2, "killed {kills} times");
    assert_eq!(fleet.stored("secrets").await, ["kms:v1:old"]);
    assert!(fleet.manifest(2).contains("KMSv1=true"), "{}", fleet.manifest(2));
    fleet.succeeds(&["migrate", "--to", "kms:v2:new", "--endpoint", &fleet.endpoint(), "--yes"]).await;
    assert_eq!(fleet.stored("secrets").await, ["kms:v2:new"]);
    load.stop().await.assert_nothing_lost(&fleet.clients).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane and an hour: cargo xtask test --tools"]
async fn k8_whatever_is_killed_with_reloads() {
    whatever_is_killed("1.37.2").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane and an hour: cargo xtask test --tools"]
async fn k8_whatever_is_killed_with_restarts() {
    whatever_is_killed("1.31.0").await;
}

/// Every way of a cluster, with a thousand counters that are read and incremented, the command killed at its first, second, third step and
/// so on, and an API server killed at each step.
async fn whatever_is_killed(version: &str) {
    let fleet = Fleet::start(version, 3).await;
    fleet.create_secrets(200).await;
    let load = Load::start(&fleet.clients, 500).await;
    let later = |at| at + 1;

    // Back, as long as nothing is stored in the new way.
    fleet.is_killed_at(&["enable", "--yes"], "now: write [kms:v2:keystead").await;
    fleet.succeeds_although_killed(&["undo", "--yes"], later, true).await;
    assert_eq!(fleet.stored("secrets").await, ["identity"]);
    assert!(!fleet.manifest(0).contains("encryption"), "{}", fleet.manifest(0));

    // And as soon as something is.
    fleet.all_ready().await;
    fleet.is_killed_at(&["enable", "--yes"], "now: re-encrypt").await;
    fleet.all_ready().await;
    let undo = fleet.keystead(&["undo", "--yes"]).await;
    assert_eq!(undo.code, Some(1), "{undo}");
    assert!(undo.stderr.contains("keystead cluster disable"), "{undo}");
    fleet.succeeds_although_killed(&["disable", "--yes"], later, true).await;
    assert_eq!(fleet.stored("secrets").await, ["identity"]);

    fleet.succeeds_although_killed(&["enable", "--yes"], later, true).await;
    assert_eq!(fleet.stored("secrets").await, ["kms:v2:keystead"]);
    fleet.all_ready().await;
    assert_eq!(fleet.keystead(&["undo", "--yes"]).await.code, Some(1));
    fleet.rotate_keys();
    fleet.succeeds_although_killed(&["rotate", "--yes"], later, true).await;
    assert_eq!(fleet.key_ids().await.len(), 1, "everything is under one key");
    let migrate = ["migrate", "--to", "kms:v2:new", "--endpoint", &fleet.endpoint(), "--yes"];
    fleet.succeeds_although_killed(&migrate, later, true).await;
    assert_eq!(fleet.stored("secrets").await, ["kms:v2:new"]);
    fleet.succeeds_although_killed(&["disable", "--yes"], later, true).await;
    assert_eq!(fleet.stored("secrets").await, ["identity"]);
    load.stop().await.assert_nothing_lost(&fleet.clients).await;
}
