//! The agent as the unit that `keystead agent unit` prints, with all that this keeps from it, under the real systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reqwest::Method;
use serde_json::json;

use super::{KEYSTEAD, Scene};
use crate::scene::{LOCATION, Scene as Server};

const AGENT: &str = "keystead-agent.service";

impl Scene {
    fn write_private(&self, path: &str, text: &str) {
        self.write(path, text);
        fs::set_permissions(self.host.path(path), fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    async fn of_agent(&self, property: &str) -> String {
        let shown = self.systemctl(&["show", "--value", &format!("--property={property}"), AGENT]).await;
        shown.trim().to_owned()
    }
}

/// Begins something at the server, and gives the name of the operation.
fn begin(server: &Server, words: &str) -> String {
    server.works(&format!("container clusters {words} --location {LOCATION} --async"));
    let running = "container operations list --filter status=RUNNING --format value(name)";
    server.works(running).trim().to_owned()
}

fn ends_well(server: &Server, operation: &str) {
    server.works(&format!("container operations wait {operation} --location {LOCATION}"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and the real systemd and the control plane: cargo xtask test --tools"]
async fn c7_c8_the_agents_unit_can_do_all_that_it_must_and_goes_on_after_it_was_killed() {
    let scene = Scene::start("").await;
    scene.create_secret("first").await;
    let server = Server::new().await;
    server.works("services enable container.googleapis.com");
    let key = server.create_key("key-1");
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {
        "name": "host-0", "labels": { "node-role.kubernetes.io/control-plane": "" } } });
    scene.client.call(Method::POST, "/api/v1/nodes", Some(&node)).await.expect("a node");

    // As on a host of which the guide speaks: programs and files are where they are looked for.
    for program in ["keystead", "keystead-plugin"] {
        let built = Path::new(KEYSTEAD).with_file_name(program).display().to_string();
        scene.host.told("cp", &[&built, "/usr/local/bin"]).await.expect("copied");
    }
    scene.write_private(
        "/etc/kubernetes/admin.conf",
        &fs::read_to_string(&scene.kubeconfig).expect("a kubeconfig"),
    );
    fs::create_dir_all(scene.host.path("/etc/keystead")).expect("a directory");
    scene.write(
        "/etc/keystead/agent.yaml",
        "clusterOptions: [--node=host-0]\npluginOptions: [--as=systemd]\n",
    );
    scene.write("/etc/keystead/ca.pem", &server.authority());
    let create = begin(&server, "create prod-a");
    let token = server.path().join("join-token");
    server.works(&format!(
        "container clusters hosts invite host-0 --cluster prod-a --location {LOCATION} --output-file {}",
        token.display()
    ));
    scene.write_private("/etc/keystead/join-token", &fs::read_to_string(&token).expect("a token"));
    let join =
        ["agent", "join", "--token-file", "/etc/keystead/join-token", "--ca-file", "/etc/keystead/ca.pem"];
    let joined = scene.keystead(&[&join[..], &["--server", server.endpoint()]].concat()).await;
    assert_eq!(joined.code, Some(0), "{}", joined.text);

    let unit = scene.keystead(&["agent", "unit"]).await;
    scene.write(&format!("/etc/systemd/system/{AGENT}"), &unit.text);
    scene.systemctl(&["daemon-reload"]).await;
    let faults = scene.host.run("systemd-analyze", &["verify", AGENT]).await.expect("runs");
    assert_eq!(String::from_utf8_lossy(&faults.stderr), "", "systemd ignores a line of the unit");
    scene.systemctl(&["enable", "--now", AGENT]).await;
    tokio::task::block_in_place(|| ends_well(&server, &create));
    assert_eq!(scene.stored().await, ["plain"]);

    // Its process is killed on the way, and systemd starts another one, which goes on.
    let update = begin(&server, &format!("update prod-a --database-encryption-key {key}"));
    let killed = scene.of_agent("MainPID").await;
    scene
        .host
        .wait("the agent has begun", async |host| {
            let said = host.told("journalctl", &["--unit", AGENT, "--output", "cat"]).await?;
            anyhow::ensure!(said.contains(&format!("{update}: begins")), "{said}");
            Ok(())
        })
        .await
        .expect("it begins");
    scene.systemctl(&["kill", "--signal=KILL", AGENT]).await;
    tokio::task::block_in_place(|| ends_well(&server, &update));
    assert_eq!(scene.of_agent("NRestarts").await, "1");
    assert_ne!(scene.of_agent("MainPID").await, killed);
    let stored = scene.stored().await;
    assert!(stored.len() == 1 && stored[0].starts_with("cloudkms-v"), "{stored:?}");

    scene.systemctl(&["restart", AGENT]).await;
    let off = begin(&server, "update prod-a --disable-database-encryption");
    tokio::task::block_in_place(|| ends_well(&server, &off));
    assert_eq!(scene.stored().await, ["plain"]);
    scene.systemctl(&["stop", AGENT]).await;
    assert_eq!(scene.of_agent("Result").await, "success", "it ends when it is asked to");
}
