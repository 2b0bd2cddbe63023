//! From one key to another: a second plugin beside the first, as an instance with units of its own.

use std::fs;

use super::{ENDPOINT, Scene};

const KEY: &str = "/etc/keystead/new/key";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn k8_a_cluster_moves_to_the_key_of_another_instance() {
    let scene = Scene::start("").await;
    scene.create_secret("first").await;
    let units = scene.units();
    scene.install_plugin("/run/keystead/kms.sock").await;
    scene.succeeds(&["enable", "--yes", "--endpoint", ENDPOINT]).await;
    let first = scene.stored().await;

    fs::create_dir_all(scene.host.path("/etc/keystead/new")).expect("a directory");
    scene.plugin(&["key", "create", "--key-file", KEY]).await;
    let install = ["install", "--as", "systemd", "--instance", "new", "--key-file", KEY, "--yes"];
    scene.plugin(&install).await;
    let settings = scene.read("/etc/keystead/plugin-new.env");
    scene.plugin(&install).await;
    assert_eq!(scene.read("/etc/keystead/plugin-new.env"), settings, "the port stays");
    let words = scene.words().await;
    let endpoint = "unix:///run/keystead/new/kms.sock";
    scene.succeeds(&["migrate", "--yes", "--to", "kms:v2:new", "--endpoint", endpoint]).await;
    assert_eq!(scene.words().await, words, "nothing but the file had to change");
    let second = scene.stored().await;
    assert!(second.len() == 1 && second != first && second[0] != "plain", "{second:?}");

    // Each goes alone, and only when nothing needs it.
    scene.plugin(&["uninstall", "--yes"]).await;
    scene.succeeds(&["verify"]).await;
    scene.systemctl(&["restart", "keystead-plugin@new.service"]).await;
    let refused = scene.keystead(&["plugin", "uninstall", "--instance", "new", "--yes"]).await;
    assert!(
        refused.code == Some(1) && refused.text.contains("/run/keystead/new/kms.sock"),
        "{}",
        refused.text
    );
    scene.succeeds(&["disable", "--yes"]).await;
    scene.plugin(&["uninstall", "--instance", "new", "--yes"]).await;
    let files = |it: &std::collections::BTreeMap<std::path::PathBuf, String>| {
        it.iter().filter(|it| !it.1.is_empty()).map(|it| it.0.clone()).collect::<Vec<_>>()
    };
    assert_eq!(files(&scene.units()), files(&units));
}
