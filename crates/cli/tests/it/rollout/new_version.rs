//! `keystead cluster rotate --new-version`: the key is rotated where it is kept, and then in the cluster.

use std::path::{Path, PathBuf};

use keystead_testkit::process::Process;
use serde_json::json;

use super::fleet::{Fleet, start_plugin_at};
use super::two_drivers::Driver;
use crate::scene::{LOCATION, Scene};
use crate::{keystead, stderr, stdout};

/// Numbers of the versions of a key file, and the one that encrypts.
fn versions(file: &Path) -> (Vec<u64>, u64) {
    let output =
        keystead().args(["plugin", "key", "list", "--format", "json", "--key-file"]).arg(file).output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let list: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let versions = list["versions"].as_array().expect("a list");
    let number = |it: &serde_json::Value| it["version"].as_u64().expect("a number");
    let primary = versions.iter().find(|it| it["primary"] == json!(true)).map(number);
    (versions.iter().map(number).collect(), primary.expect("one encrypts"))
}

/// The record of the first host.
fn record_file(fleet: &Fleet) -> PathBuf {
    let files = std::fs::read_dir(fleet.host(0).join("state")).expect("a directory");
    let name = |it: &PathBuf| it.file_name().map(|it| it.to_string_lossy().into_owned());
    // Journals of re-encryptions begin like it.
    let is_record = |it: &PathBuf| {
        name(it).is_some_and(|it| {
            it.starts_with("rollout-") && it.ends_with(".json") && !it.contains("-reencrypt-")
        })
    };
    files.map(|it| it.expect("a file").path()).find(is_record).expect("a record")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane and an hour: cargo xtask test --tools"]
async fn k8_a_key_file_gets_one_new_version_although_the_command_is_killed() {
    let fleet = Fleet::start("1.37.2", 1).await;
    fleet.create_secrets(50).await;
    fleet.succeeds(&["enable", "--yes"]).await;
    let before = fleet.key_ids().await;
    let key = fleet.host(0).join("plugin/key");
    let file = key.display().to_string();
    let rotate = ["rotate", "--new-version", "--key-file", &file];

    let planned = fleet.keystead(&rotate).await;
    assert_eq!(planned.code, Some(1), "{planned}");
    assert!(planned.stderr.contains("next: make a new version of "), "{planned}");
    let which = fleet.keystead(&["rotate", "--new-version", "--yes"]).await;
    assert_eq!(which.code, Some(2), "{which}");
    // The plugin knows nothing of it.
    let other = fleet.path("other.key");
    super::fleet::make_key(Path::new(&other));
    let refused = fleet.keystead(&["rotate", "--new-version", "--key-file", &other, "--yes"]).await;
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("does not use this key"), "{refused}");
    assert_eq!(versions(Path::new(&other)), (vec![1], 1));
    assert_eq!(versions(&key), (vec![1], 1), "nothing was made without --yes");

    let rotate = [&rotate[..], &["--yes"]].concat();
    fleet.is_killed_at(&rotate, "next: make a new version of ").await;
    let record = std::fs::read_to_string(record_file(&fleet)).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert!(!record["before"].is_null(), "there is a way back: {record}");
    let cut = fleet.keystead(&["continue", "--yes"]).await;
    assert!(cut.stderr.contains("was being made"), "{cut}");
    fleet.is_killed_at(&rotate, "version 2 of ").await;
    fleet.is_killed_at(&rotate, "now: re-encrypt").await;
    fleet.succeeds(&rotate).await;
    assert_eq!(versions(&key), (vec![1, 2], 2));
    let after = fleet.key_ids().await;
    assert!(after.len() == 1 && after != before, "{before:?} and then {after:?}");
    fleet.succeeds(&rotate).await;
    assert_eq!(versions(&key), (vec![1, 2, 3], 3), "what was reached is over");

    // What a driver shared counts for a command with one host too.
    let (code, said) = Driver::start(fleet.part_on(0, &["disable", "--yes"])).end().await;
    assert_eq!(code, Some(0), "{said}");
    std::fs::remove_file(record_file(&fleet)).expect("removed");
    let done = fleet.keystead(&["continue", "--yes"]).await;
    assert!(done.stderr.contains("the last rollout is done: disable"), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane and an hour: cargo xtask test --tools"]
async fn k8_a_key_service_makes_the_version_that_a_rotation_goes_to() {
    let scene = Scene::new().await;
    let fleet = Fleet::start("1.37.2", 2).await;
    fleet.create_secrets(50).await;
    let file = fleet.host(0).join("plugin/key").display().to_string();
    fleet.succeeds(&["enable", "--yes"]).await;
    let local = fleet.keystead(&["rotate", "--new-version", "--key-file", &file, "--yes"]).await;
    assert_eq!(local.code, Some(1), "{local}");
    assert!(local.stderr.contains("key promote VERSION"), "{local}");
    assert_eq!(versions(Path::new(&file)), (vec![1], 1));

    let _plugins = plugins_of(&scene, &fleet).await;
    let socket = format!("unix://{}", fleet.host(0).join("plugin/service.sock").display());
    fleet.succeeds(&["migrate", "--to", "kms:v2:service", "--endpoint", &socket, "--yes"]).await;
    let before = fleet.key_ids().await;
    let (token, authority) = (scene.token_file().display().to_string(), fleet.path("ca.pem"));
    std::fs::write(&authority, scene.authority()).expect("written");
    let rotate = ["rotate", "--new-version", "--key", "k", "--keyring", "r", "--location", LOCATION];
    let service = ["--project", "of-keystead", "--endpoint", scene.endpoint(), "--ca-file", &authority];
    // Not the plugin's rights: the plugin's token makes no version.
    let plugins = scene.path().join("plugin-token").display().to_string();
    let denied = [&rotate[..], &service, &["--token-file", &plugins, "--yes"]].concat();
    let denied = fleet.keystead(&denied).await;
    assert_eq!(denied.code, Some(5), "{denied}");
    let rotate = [&rotate[..], &service, &["--token-file", &token, "--yes"]].concat();
    fleet.is_killed_at(&rotate, "version 2 of ").await;
    fleet.succeeds(&rotate).await;
    let listed = scene.works(&format!(
        "kms keys versions list --key k --keyring r --location {LOCATION} --format value(name.basename())"
    ));
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let after = fleet.key_ids().await;
    assert!(after.len() == 1 && after.is_disjoint(&before), "{before:?} and then {after:?}");
}

/// A key of the service, and on each host a plugin with it.
async fn plugins_of(scene: &Scene, fleet: &Fleet) -> Vec<Process> {
    let member = "user:plugin@example.com";
    scene.works(&format!("kms keyrings create r --location {LOCATION}"));
    scene.works(&format!("kms keys create k --keyring r --location {LOCATION} --purpose encryption"));
    scene.works(&format!(
        "kms keys add-iam-policy-binding k --keyring r --location {LOCATION} --member {member} --role roles/cloudkms.cryptoKeyEncrypterDecrypter"
    ));
    scene
        .works(&format!("iam tokens create --principal {member} --expires-in 1d --output-file plugin-token"));
    let token = std::fs::read_to_string(scene.path().join("plugin-token")).expect("a token");
    let credentials =
        json!({ "endpoint": scene.endpoint(), "ca": scene.authority(), "tokens": [token.trim()] });
    let mut plugins = Vec::new();
    for index in 0..fleet.pods.len() {
        let host = fleet.host(index);
        let file = host.join("plugin/credentials.json");
        super::fleet::write_private(&file, &credentials.to_string());
        let key = format!("projects/of-keystead/locations/{LOCATION}/keyRings/r/cryptoKeys/k");
        let more = [format!("--kms-key={key}"), format!("--credentials-file={}", file.display())];
        plugins.push(start_plugin_at(&host, "service.sock", &more).await);
    }
    plugins
}
