//! Encryption on a real node: kubeadm's control plane under a real kubelet and containerd, with the plugin's image as a static pod.

mod manifests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use keystead_etcd::{ClientFiles, Connection, Etcd, TlsFiles};
use keystead_testkit::node::Node;

use crate::stdout;

/// Pods take seconds; the kubelet gives an API server half a minute to end, and test machines are busy.
const POD: Duration = Duration::from_secs(300);

const PROGRAM: &str = env!("CARGO_BIN_EXE_keystead");

const VALUE: &str = "right-in-the-pod";

#[tokio::test]
#[ignore = "needs root and the real node and the plugin image: cargo xtask test --tools"]
async fn k5_k6_k9_k10_a_static_pod_and_one_command_encrypt_a_real_control_plane() {
    let image = PathBuf::from(std::env::var_os("KEYSTEAD_PLUGIN_IMAGE").expect("the full test run sets it"));
    let before = settings();
    let node = Node::start(&[&image]).await.expect("a node");

    // K5, K6: the plugin, by hand.
    prepare_plugin(&node).await;
    let manifest = Path::new("/etc/kubernetes/manifests/keystead-kms-plugin-pod.yaml");
    node.write(manifest, &manifests::plugin()).await.expect("a manifest");
    node.wait("kubectl shows the plugin's pod, and it is ready", POD, async |node| {
        is_ready(node, "keystead-kms-plugin-node").await
    })
    .await
    .expect("the plugin runs");
    let socket = node.run("stat", &["--format", "%F %a %u", "/tmp/keystead", "/tmp/keystead/kms.sock"]).await;
    assert_eq!(stdout(&socket.expect("stat runs")), "directory 700 0\nsocket 600 0\n");

    // K7, K8.
    node.kubectl(&["create", "secret", "generic", "before", "--from-literal=key=plain"])
        .await
        .expect("created");
    let enabled = node.run(PROGRAM, &["cluster", "enable", "--yes"]).await.expect("it runs");
    assert!(enabled.status.success(), "{}\n{}", crate::stdout(&enabled), crate::stderr(&enabled));

    // K9: by the kubelet's word, and each from the process that runs now.
    for component in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        node.wait(component, POD, async |node| is_ready(node, &format!("{component}-node")).await)
            .await
            .expect("the control plane runs");
    }

    // K10.
    let literal = format!("--from-literal=key={VALUE}");
    node.kubectl(&["create", "secret", "generic", "after", &literal]).await.expect("created");
    node.wait("the service account of Pods is there", POD, async |node| {
        node.kubectl(&["get", "serviceaccount", "default"]).await.map(drop)
    })
    .await
    .expect("the controllers work");
    node.write(Path::new("/etc/test-pod.yaml"), &manifests::reader("after")).await.expect("written");
    node.kubectl(&["apply", "-f", "/etc/test-pod.yaml"]).await.expect("a Pod");
    node.wait("the Pod is ready", POD, async |node| in_ready(node, "default", "reader").await)
        .await
        .expect("the Pod runs");
    let inside = node.kubectl(&["exec", "reader", "--", "sh", "-c", "echo \"$VALUE\""]).await.expect("exec");
    assert_eq!(inside.trim(), VALUE);
    assert_eq!(node.kubectl(&["logs", "reader"]).await.expect("logs").trim(), VALUE);

    let stored = stored_secrets(&node);
    assert!(stored.len() >= 2, "both Secrets");
    for value in stored {
        assert!(value.starts_with(b"k8s:enc:kms:v2:keystead:"), "{}", String::from_utf8_lossy(&value));
    }

    // Nothing of it stays on this machine.
    let directory = node.directory().to_owned();
    let name = directory.file_name().expect("a name").to_owned();
    let cgroups = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"].map(|it| Path::new(it).join(&name));
    assert!(directory.is_dir() && cgroups.iter().any(|it| it.is_dir()));
    drop(node);
    assert!(!directory.exists() && cgroups.iter().all(|it| !it.exists()));
    assert_eq!(settings(), before);
}

/// What a kubelet sets for the whole machine.
fn settings() -> Vec<String> {
    let names = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];
    names.map(|it| std::fs::read_to_string(format!("/proc/sys/{it}")).expect("a setting")).into()
}

/// The directory of the socket, and a key.
async fn prepare_plugin(node: &Node) {
    let made = node.run("install", &["--directory", "--mode=700", "/tmp/keystead", "/etc/keystead"]).await;
    assert!(made.expect("install runs").status.success());
    let key = ["plugin", "key", "create", "--key-file", "/etc/keystead/key"];
    let made = node.run(PROGRAM, &key).await.expect("it runs");
    assert!(made.status.success(), "{}", crate::stderr(&made));
}

async fn is_ready(node: &Node, pod: &str) -> Result<()> {
    in_ready(node, "kube-system", pod).await
}

async fn in_ready(node: &Node, namespace: &str, pod: &str) -> Result<()> {
    let path = "jsonpath={.status.phase} {.status.containerStatuses[*].ready}";
    let status = node.kubectl(&["get", "pod", "--namespace", namespace, pod, "--output", path]).await?;
    ensure!(status == "Running true", "{pod} is {status}");
    Ok(())
}

/// What etcd has, byte for byte.
fn stored_secrets(node: &Node) -> Vec<Vec<u8>> {
    let file = |name: &str| node.etc(&format!("kubernetes/pki/{name}"));
    let connection = Connection {
        endpoints: vec!["https://127.0.0.1:2379".to_owned()],
        tls: Some(TlsFiles {
            ca: file("etcd/ca.crt"),
            client: Some(ClientFiles {
                certificate: file("apiserver-etcd-client.crt"),
                key: file("apiserver-etcd-client.key"),
            }),
        }),
        login: None,
    };
    let read = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let etcd = Etcd::connect(&connection).await.expect("etcd");
            let mut scanner = etcd.scan("/registry/secrets/default/");
            let mut values = Vec::new();
            while let Some(page) = scanner.next_page().await.expect("a page") {
                values.extend(page.entries.iter().map(|it| it.value.to_vec()));
            }
            values
        })
    };
    node.on_its_network(read).expect("the node runs")
}
