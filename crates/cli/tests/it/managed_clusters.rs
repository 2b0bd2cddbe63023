//! Clusters as a managed service: what outlives what, and what becomes of a cluster whose key is taken away. All parts are real but nodes.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cluster_server::{ClusterServer, PATIENCE};
use crate::{keystead, stderr};

const PLACE: &str = "--location europe-west1 --project cluster-project";
const KEY: &str = "--location europe-west1 --keyring keys --key key-1 --project key-project";
const KEY_NAME: &str = "projects/key-project/locations/europe-west1/keyRings/keys/cryptoKeys/key-1";

/// A key that the clusters of the project may use.
fn create_key(server: &ClusterServer) {
    let words = |line: &str| server.works(&line.split(' ').collect::<Vec<_>>());
    words("kms keyrings create keys --location europe-west1 --project key-project");
    words(
        "kms keys create key-1 --purpose encryption --location europe-west1 --keyring keys --project key-project",
    );
    let number = words("projects describe cluster-project --format value\\(projectNumber\\)");
    words(&format!(
        "kms keys add-iam-policy-binding key-1 --location europe-west1 --keyring keys --project key-project --member \
         serviceAccount:service-{}@container-engine-robot.iam.gserviceaccount.com --role roles/cloudkms.cryptoKeyEncrypterDecrypter",
        number.trim()
    ));
}

/// A server with one cluster, and a Secret in it.
async fn with_encrypted_cluster() -> ClusterServer {
    let server = ClusterServer::start().await;
    tokio::task::block_in_place(|| create_key(&server));
    let create =
        format!("exec \"$0\" container clusters create prod {PLACE} --database-encryption-key {KEY_NAME}");
    server.until(&create).await;
    server.until(&kubectl(&server, "create secret generic s --from-literal=value=plaintext-one")).await;
    server
}

fn directory(server: &ClusterServer) -> PathBuf {
    let entries = fs::read_dir(server.clusters()).expect("listed");
    entries.map(|it| it.expect("an entry").path()).next().expect("a cluster")
}

/// kubectl as the administrator of the cluster, whoever is away.
fn kubectl(server: &ClusterServer, words: &str) -> String {
    format!("kubectl --kubeconfig {}/kubeconfig {words}", directory(server).display())
}

/// A line of a shell that prints the key version that the Secret's bytes in etcd name.
fn stored_version(server: &ClusterServer) -> String {
    let at = directory(server).display().to_string();
    let key = STANDARD.encode("/registry/secrets/default/s");
    format!(
        "port=$(sed -n 's/.*\"etcd\":\\([0-9]*\\).*/\\1/p' {at}/ports.json); curl --silent --noproxy '*' --cacert {at}/pki/etcd-authority.pem --cert \
         {at}/pki/etcd-client.pem --key {at}/pki/etcd-client.key https://127.0.0.1:$port/v3/kv/range -d '{{\"key\":\"{key}\"}}' | \
         sed -n 's/.*\"value\":\"\\([^\"]*\\)\".*/\\1/p' | base64 -d | grep -aoE 'cloudkms-v[0-9]+-' | head -n 1 | tr -dc 0-9"
    )
}

/// The processes whose command lines hold this.
fn processes(text: &str) -> Vec<rustix::process::Pid> {
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let pids = entries.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let of = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).replace('\0', " ").contains(text)
    };
    pids.filter(of).filter_map(rustix::process::Pid::from_raw).collect()
}

/// Kills what this cluster's supervisor started for a program; it starts it again.
fn kill(at: &Path, text: &str) {
    let is_of_cluster = |pid: &rustix::process::Pid| {
        let cwd = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero()));
        cwd.is_ok_and(|cwd| cwd.starts_with(at))
    };
    let found: Vec<_> = processes(text).into_iter().filter(is_of_cluster).collect();
    assert!(!found.is_empty(), "no process has {text}");
    for pid in found {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters and kubectl: cargo xtask test --tools"]
async fn c6_c7_a_cluster_outlives_its_server_and_whatever_runs_it() {
    let mut server = ClusterServer::start().await;
    tokio::task::block_in_place(|| create_key(&server));
    let create = format!(
        "exec \"$0\" container clusters create prod {PLACE} --database-encryption-key {KEY_NAME} --async"
    );
    server.until(&create).await;
    // At whatever it was, another process on the same store goes on.
    for _ in 0..3 {
        server.run().await;
    }
    let state = "container clusters describe prod --format 'value(status,databaseEncryption.state)'";
    server.until(&format!("\"$0\" {state} {PLACE} | grep -q 'RUNNING.ENCRYPTED'")).await;
    server.until(&kubectl(&server, "create secret generic s --from-literal=value=plaintext-one")).await;
    let at = directory(&server);

    // The process that runs the cluster is killed, and all that it started with it; the server starts it again.
    let supervisor = processes(&format!("local-clusters run {}", at.display()));
    assert_eq!(supervisor.len(), 1, "{supervisor:?}");
    for pid in supervisor {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    }
    let read =
        kubectl(&server, "get secret s -o 'jsonpath={.data.value}' | base64 -d | grep -qx plaintext-one");
    server.until(&read).await;
    // Whoever has a token of the server is who the server says.
    server.until(&format!("exec \"$0\" container clusters get-credentials prod {PLACE}")).await;
    let who = server
        .until("kubectl auth whoami -o 'jsonpath={.status.userInfo.username} {.status.userInfo.groups}'")
        .await;
    assert!(who.starts_with("admin@keystead.local [\"keystead:admins\""), "{who}");

    // What somebody stops stays stopped, until the server starts anew.
    let stopped = keystead().args(["local-clusters", "stop"]).arg(server.clusters()).output().expect("runs");
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    let says = |text: &str| {
        let message = "container clusters describe prod --format 'value(status,statusMessage)'";
        format!("\"$0\" {message} {PLACE} | grep -q 'ERROR.*{text}'")
    };
    server.until(&says("local-clusters stop")).await;
    assert_eq!(processes(&format!("{}/", at.display())), []);
    server.run().await;
    server.until(&read).await;

    // What it held can be taken away; then nothing of it runs, and it is told.
    fs::remove_dir_all(&at).expect("removed");
    server.until(&says("directory is gone")).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !processes(&format!("{}/", at.display())).is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "it runs on");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    server.until(&format!("exec \"$0\" container clusters delete prod {PLACE} --quiet")).await;

    // Deleted, encrypted as it is, nothing is left.
    server.until(&create).await;
    server.until(&format!("\"$0\" {state} {PLACE} | grep -q 'RUNNING.ENCRYPTED'")).await;
    let at = directory(&server);
    server.until(&format!("exec \"$0\" container clusters delete prod {PLACE} --quiet")).await;
    server.until(&format!("test ! -e {}", at.display())).await;
    assert_eq!(processes(&format!("{}/", at.display())), []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters and kubectl: cargo xtask test --tools"]
async fn p9_p10_p11_p12_p20_what_becomes_of_a_cluster_whose_key_is_taken_away() {
    let server = with_encrypted_cluster().await;
    // A token in a Secret, as before projected volumes: its controller fills it.
    let manifest = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: token\n  annotations:\n    kubernetes.io/service-account.name: default\n\
                    type: kubernetes.io/service-account-token\n";
    let file = server.clusters().with_file_name("token.yaml");
    fs::write(&file, manifest).expect("written");
    let read =
        kubectl(&server, "get secret s -o 'jsonpath={.data.value}' | base64 -d | grep -qx plaintext-one");
    let token = kubectl(&server, "get secret token -o 'jsonpath={.data.token}' | grep -q .");
    // The account is made a moment after its namespace; a Secret of one that is not there is removed.
    let apply = kubectl(&server, &format!("apply -f {}", file.display()));
    server.until(&format!("{apply} && {token}")).await;

    // P12: in use, it is not destroyed.
    let destroy = format!("\"$0\" kms keys versions destroy 1 {KEY}");
    let refused = server.shell(&destroy, &[]);
    assert!(stderr(&refused).contains("clusters/prod"), "{}", stderr(&refused));
    // By name it is, and P11: what is in memory goes on.
    let label = "kms keys update key-1 --location europe-west1 --keyring keys --project key-project --update-labels keystead-destroy=1";
    server.until(&format!("exec \"$0\" {label}")).await;
    server.until(&destroy).await;
    server.until(&read).await;
    // An API server and a plugin that start have nothing in memory. P10: no more is a token to be had.
    let at = directory(&server);
    kill(&at, "plugin run");
    kill(&at, "kube-apiserver --advertise-address");
    server.until(&kubectl(&server, "get --raw /livez/ping")).await;
    for read in [&read, &token] {
        let gone = server.shell(read, &[]);
        assert!(!gone.status.success(), "it reads {read}");
    }
    // P9: restored in time, all is back. It is disabled then; P20: enabling it heals.
    server.until(&format!("\"$0\" kms keys versions restore 1 {KEY}")).await;
    assert!(!server.shell(&read, &[]).status.success());
    server.until(&format!("\"$0\" kms keys versions enable 1 {KEY}")).await;
    server.until(&read).await;
    server.until(&token).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters and kubectl: cargo xtask test --tools"]
async fn p18_a_cluster_that_wants_it_is_encrypted_anew_after_a_rotation_and_nobody_asks() {
    let server = with_encrypted_cluster().await;
    let label = format!(
        "exec \"$0\" container clusters update prod {PLACE} --update-labels keystead-reencrypt=after-rotation"
    );
    server.until(&label).await;
    server.until(&format!("test \"$({})\" = 1", stored_version(&server))).await;
    server.until(&format!("exec \"$0\" kms keys versions create {KEY} --primary")).await;
    // A host counts, the server starts an operation, the hosts do it: the bytes in etcd say so.
    server.until(&format!("test \"$({})\" = 2", stored_version(&server))).await;
    let listed =
        "container operations list --filter detail:keystead-reencrypt --format 'value(detail,status)'";
    let ended = server.until(&format!("\"$0\" {listed} {PLACE} | grep DONE")).await;
    assert_eq!(ended.lines().count(), 1, "{ended}");
    assert!(ended.contains("under other versions of ") && ended.contains("its primary version 2"), "{ended}");
    // And when it was counted again nothing is left to say, or to do.
    let says = "container clusters describe prod --format 'value(statusMessage)'";
    server.until(&format!("test -z \"$(\"$0\" {says} {PLACE})\"")).await;
    server.until(&format!("\"$0\" kms keys versions destroy 1 {KEY}")).await;
    let read =
        kubectl(&server, "get secret s -o 'jsonpath={.data.value}' | base64 -d | grep -qx plaintext-one");
    server.until(&read).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters and kubectl: cargo xtask test --tools"]
async fn c10_p12_p18_a_version_may_be_destroyed_once_the_cluster_has_counted_that_nothing_is_under_it() {
    let server = with_encrypted_cluster().await;
    server.until(&format!("exec \"$0\" kms keys versions create {KEY} --primary")).await;
    let destroy = format!("\"$0\" kms keys versions destroy 1 {KEY}");
    let refused = server.shell(&destroy, &[]);
    assert!(stderr(&refused).contains("clusters/prod"), "{}", stderr(&refused));
    // Everything is written anew, and a host counts, which nobody has to ask for.
    let update =
        format!("exec \"$0\" container clusters update prod {PLACE} --database-encryption-key {KEY_NAME}");
    server.until(&update).await;
    server.until(&destroy).await;
    server
        .until(&kubectl(
            &server,
            "get secret s -o 'jsonpath={.data.value}' | base64 -d | grep -qx plaintext-one",
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters and google-clients: cargo xtask test --tools"]
async fn c6_c7_c8_c9_the_go_client_makes_encrypts_and_deletes_a_cluster_over_rest_and_grpc() {
    let server = ClusterServer::start().await;
    tokio::task::block_in_place(|| create_key(&server));
    for transport in ["rest", "grpc"] {
        let line = format!(
            "exec \"$KEYSTEAD_GO_GOOGLE_CLIENTS\" encryption {transport} \"${{KEYSTEAD_ENDPOINT#https://}}\" token=\"$KEYSTEAD_TOKEN_FILE\" \
             cluster-project prod {KEY_NAME}"
        );
        let told = tokio::task::block_in_place(|| server.shell(&line, &[]));
        let said = crate::stdout(&told);
        assert!(told.status.success(), "{transport}: {said}{}\n{}", stderr(&told), server.log());
        let steps = [
            "CreateCluster",
            "UpdateCluster to ENCRYPTED",
            "UpdateCluster to DECRYPTED",
            "DeleteCluster",
            "NotFound",
        ];
        assert_eq!(said.lines().collect::<Vec<_>>(), steps.map(|step| format!("ok {step}")), "{transport}");
    }
}
