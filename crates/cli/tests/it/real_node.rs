//! Encryption on a real node: kubeadm's control plane under a real kubelet and containerd, with the plugin's image as a static pod. Once by
//! two commands, and once by hand in each language, with what the page says, word for word.

mod brief;
mod ends;
mod key_service;
mod page;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use keystead_etcd::{ClientFiles, Connection, Etcd, TlsFiles};
use keystead_testkit::node::{Node, SHELL_IMAGE};

use crate::stdout;
use key_service::{KEY, KeyService};

/// Pods take seconds. But the kubelet gives an API server half a minute to end, and waits up to five minutes before it starts again what
/// failed often; and test machines are busy.
const PATIENCE: Duration = Duration::from_secs(900);

const PROGRAM: &str = env!("CARGO_BIN_EXE_keystead");
/// The node's own programs, and ours.
const SHELL_PATH: &str = "/run/keystead-programs:/run/programs:/usr/sbin:/usr/bin:/sbin:/bin";

const MANIFESTS: &str = "/etc/kubernetes/manifests";
const PLUGIN: &str = "keystead-kms-plugin";
const CONTROL_PLANE: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

#[tokio::test]
#[ignore = "needs root and the real node and the plugin image: cargo xtask test --tools"]
async fn k5_k6_k7_k8_k9_k10_two_commands_encrypt_a_real_control_plane() {
    let before = settings();
    let (node, mut service) = node().await;
    runs(&node, "kubectl create secret generic before --from-literal=key=plain").await;

    // K5, K6.
    let install = format!(
        "keystead plugin install --as static-pod --image {} --kms-key {KEY} --kms-user {} --yes",
        image().display(),
        service.user
    );
    runs(&node, &install).await;
    until_ready(&node, PLUGIN).await;
    let socket = runs(&node, "stat --format '%F %a %u' /tmp/keystead /tmp/keystead/kms.sock").await;
    assert_eq!(socket, "directory 700 0\nsocket 600 0\n");

    // K7, K8, K9.
    runs(&node, "keystead cluster enable --yes").await;
    for component in CONTROL_PLANE {
        until_ready(&node, component).await;
    }

    // K10.
    let value = "right-in-the-pod";
    runs(&node, &format!("kubectl create secret generic after --from-literal=key={value}")).await;
    until_pods_can_be_made(&node).await;
    node.write(Path::new("/etc/test-pod.yaml"), &reader("after")).await.expect("written");
    runs(&node, "kubectl apply -f /etc/test-pod.yaml").await;
    node.wait("the Pod is ready", PATIENCE, async |node| in_ready(node, "default", "reader").await)
        .await
        .expect("the Pod runs");
    assert_eq!(runs(&node, "kubectl exec reader -- sh -c 'echo \"$VALUE\"'").await.trim(), value);
    assert_eq!(runs(&node, "kubectl logs reader").await.trim(), value);
    assert_stored(&node, 2, "k8s:enc:kms:v2:keystead:");

    // What the API server shows and what a backup of etcd holds: ids, and no credential.
    let shown = runs(&node, "kubectl get pods --all-namespaces --output yaml").await.into_bytes();
    let backup = std::fs::read(node.directory().join("data/etcd/member/snap/db")).expect("etcd's database");
    for (place, bytes) in [("the API", shown), ("etcd", backup)] {
        let holds = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
        assert!(
            holds(KEY) && holds(&service.user),
            "the ids are not in {place}, so the search finds nothing"
        );
        assert!(!holds(&service.token), "the token is in {place}");
        assert!(!holds(value), "the value is in {place}");
    }

    comes_up_alone(&node, &mut service).await;

    runs(&node, "keystead cluster disable --yes").await;
    assert_stored(&node, 2, "k8s\0");
    runs(&node, "keystead plugin uninstall --yes").await;
    node.wait("the plugin's pod is gone", PATIENCE, async |node| {
        let left = try_to_run(node, "kubectl --namespace kube-system get pods --output name").await?;
        ensure!(!left.contains(PLUGIN), "{left}");
        Ok(())
    })
    .await
    .expect("it ends");

    // Nothing of it stays on this machine.
    let directory = node.directory().to_owned();
    let name = directory.file_name().expect("a name").to_owned();
    let cgroups = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"].map(|it| Path::new(it).join(&name));
    assert!(directory.is_dir() && cgroups.iter().any(|it| it.is_dir()));
    drop((node, service));
    assert!(!directory.exists() && cgroups.iter().all(|it| !it.exists()));
    assert_eq!(settings(), before);
}

#[tokio::test]
#[ignore = "needs root and the real node and the plugin image: cargo xtask test --tools"]
async fn k5_k6_k7_k8_k9_k10_by_hand_with_the_page_and_kms_v2() {
    by_hand("guides/static-pod.md", "v2").await;
}

#[tokio::test]
#[ignore = "needs root and the real node and the plugin image: cargo xtask test --tools"]
async fn k5_k6_k7_k8_k9_k10_by_hand_with_the_korean_page_and_kms_v1() {
    by_hand("ko/static-pod.md", "v1").await;
}

/// Does what a reader of the page does.
async fn by_hand(page: &str, version: &str) {
    let (node, service) = node().await;
    runs(&node, "kubectl create secret generic before --from-literal=key=plain").await;
    let [load, directory, pod, look, configuration, api_server, runs_again, reaches] = page::steps(page);
    runs(&node, &load.commands()).await;
    runs(&node, &directory.commands()).await;
    let manifest = pod.files().concat().replace("4f3a2b0c", &service.user);
    node.write(&pod.file(), &manifest).await.expect("written");
    runs(&node, &pod.commands()).await;
    until(&node, &look.commands(), &["1/1", "Running"]).await;

    let text = configuration.files().into_iter().find(|it| it.contains(&format!("apiVersion: {version}\n")));
    node.write(&configuration.file(), text.expect("the page has both")).await.expect("written");
    let file = configuration.file();
    runs(&node, &format!("chmod 0600 {}", file.display())).await;
    let manifest = format!("{MANIFESTS}/kube-apiserver.yaml");
    let mut edited = api_server.edit(&runs(&node, &format!("cat {manifest}")).await);
    if version == "v1" {
        let command = "    - kube-apiserver\n";
        edited = edited.replacen(command, &format!("{command}    - {}\n", api_server.flag()), 1);
    }
    node.write(Path::new(&manifest), &edited).await.expect("written");
    // The API server names its checks so.
    let check = if version == "v1" { "kms-provider-0 ok" } else { "kms-providers ok" };
    assert!(runs_again.says(check), "{page} does not say {check}");
    until(&node, &runs_again.commands(), &[check]).await;
    for component in CONTROL_PLANE.into_iter().chain([PLUGIN]) {
        until_ready(&node, component).await;
    }

    until_pods_can_be_made(&node).await;
    // No registry is asked here.
    let image = format!("image: {SHELL_IMAGE}\n      imagePullPolicy: Never\n");
    let file = reaches.files().concat().replace("image: busybox\n", &image);
    node.write(&reaches.file(), &file).await.expect("written");
    let told = runs(&node, &reaches.commands()).await;
    assert!(told.lines().any(|it| it == "correct-horse"), "{told}");
    assert_stored(&node, 2, &format!("k8s:enc:kms:{version}:keystead:"));
}

/// A node with a key service beside it.
async fn node() -> (Node, KeyService) {
    let node = Node::start().await.expect("a node");
    let folder = Path::new(PROGRAM).parent().expect("a folder").display();
    let bound = format!("mkdir /run/keystead-programs && mount --bind {folder} /run/keystead-programs");
    runs(&node, &bound).await;
    let service = KeyService::start(&node).await;
    (node, service)
}

fn image() -> PathBuf {
    PathBuf::from(std::env::var_os("KEYSTEAD_PLUGIN_IMAGE").expect("the full test run sets it"))
}

/// A power cut, after which the plugin is the last to start and the key service is away even then.
async fn comes_up_alone(node: &Node, service: &mut KeyService) {
    let (manifest, held) = (format!("{MANIFESTS}/keystead-kms-plugin-pod.yaml"), "/etc/kubernetes/held.yaml");
    runs(node, &format!("mv {manifest} {held}")).await;
    node.reboot().await.expect("it boots");
    node.wait("the API server has tried without the plugin", PATIENCE, async |node| {
        let told = try_to_run(node, "kubectl get --raw '/readyz?verbose'").await.err();
        let told = told.map(|it| format!("{it:#}")).unwrap_or_default();
        ensure!(told.contains("[-]kms-providers failed"), "{told}");
        Ok(())
    })
    .await
    .expect("it is not ready, for want of a KMS");
    runs(node, &format!("mv {held} {manifest}")).await;
    let asked = |path: &str| format!("busybox wget -q -O - http://127.0.0.1:10277/{path}");
    until(node, &asked("livez"), &[]).await;
    assert!(try_to_run(node, &asked("readyz")).await.is_err(), "it lives, and cannot reach its key");
    service.start_again(node).await;
    for component in CONTROL_PLANE.into_iter().chain([PLUGIN]) {
        until_ready(node, component).await;
    }
    until(node, "kubectl get secret before after --output 'jsonpath={.items[*].data.key}'", &["cGxhaW4="])
        .await;
}

/// What `script` prints, in the folder of the image. It must succeed.
async fn runs(node: &Node, script: &str) -> String {
    try_to_run(node, script).await.expect("it works")
}

async fn try_to_run(node: &Node, script: &str) -> Result<String> {
    let folder = image().parent().expect("a folder").display().to_string();
    let script = format!("export PATH={SHELL_PATH}; cd {folder}; {script}");
    let output = node.run("sh", &["-euc", &script]).await?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script}: {}\n{told}", stdout(&output));
    Ok(stdout(&output))
}

/// Runs it until it succeeds and prints all of `words`.
async fn until(node: &Node, script: &str, words: &[&str]) {
    let there = async |node: &Node| {
        let told = try_to_run(node, script).await?;
        ensure!(words.iter().all(|it| told.contains(it)), "{told}");
        Ok(())
    };
    node.wait(script, PATIENCE, there).await.expect("it comes");
}

/// By the kubelet's word, from the process that runs now.
async fn until_ready(node: &Node, component: &str) {
    let ready = async |node: &Node| in_ready(node, "kube-system", &format!("{component}-node")).await;
    node.wait(component, PATIENCE, ready).await.expect("it runs");
}

async fn until_pods_can_be_made(node: &Node) {
    until(node, "kubectl get serviceaccount default", &[]).await;
}

fn assert_stored(node: &Node, at_least: usize, prefix: &str) {
    let stored = stored_secrets(node);
    assert!(stored.len() >= at_least, "{} Secrets", stored.len());
    for value in stored {
        assert!(value.starts_with(prefix.as_bytes()), "{}", String::from_utf8_lossy(&value));
    }
}

/// One that takes the key `key` of a Secret as an environment variable, and logs it.
fn reader(secret: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: reader
spec:
  containers:
  - name: reader
    image: {SHELL_IMAGE}
    imagePullPolicy: Never
    command: [sh, -c, 'echo \"$VALUE\"; exec sleep 86400']
    env:
    - name: VALUE
      valueFrom:
        secretKeyRef:
          name: {secret}
          key: key
  terminationGracePeriodSeconds: 0
"
    )
}

/// What a kubelet sets for the whole machine.
fn settings() -> Vec<String> {
    let names = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];
    names.map(|it| std::fs::read_to_string(format!("/proc/sys/{it}")).expect("a setting")).into()
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
