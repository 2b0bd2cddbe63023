//! The second document, command by command, against clusters that a real server runs itself: `tests/brief.sh`.

use std::time::{Duration, Instant};

use crate::cluster_server::{ClusterServer, PATIENCE, PROGRAM};
use crate::{stderr, stdout};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/brief.sh");

/// The whole of the document, with this program and these API servers.
fn tell(server: &ClusterServer, cli: &str, labels: &str) {
    let clusters = server.clusters().display().to_string();
    let told = server.shell(
        &format!("exec {SCRIPT}"),
        &[
            ("CLI", cli),
            ("KEY_PROJECT", "key-project"),
            ("CLUSTER_PROJECT", "cluster-project"),
            ("LOCATION", "europe-west1"),
            ("LOCAL_CLUSTERS", &clusters),
            ("LABELS", labels),
        ],
    );
    let said = format!("{}\n{}", stdout(&told), stderr(&told));
    assert!(told.status.success(), "{said}\n{}", server.log());
    assert!(said.contains("--- done"), "{said}");
    // Nothing is left of the clusters that the document deletes.
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read_dir(server.clusters()).expect("listed").next().is_some() {
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters and kubectl: cargo xtask test --tools"]
async fn c2_c3_c4_c5_c6_c7_c8_c9_c10_c11_p4_p16_p18_the_document_with_keystead_in_gclouds_place() {
    let server = ClusterServer::start().await;
    tokio::task::block_in_place(|| tell(&server, PROGRAM, ""));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters and kubectl and gcloud: cargo xtask test --tools"]
async fn c2_c3_c4_c5_c6_c7_c8_c9_c10_c11_p4_p16_p18_the_document_with_gcloud() {
    let server = ClusterServer::start().await;
    let gcloud = std::env::var("KEYSTEAD_GCLOUD").unwrap_or_else(|_| "gcloud".to_owned());
    tokio::task::block_in_place(|| tell(&server, &gcloud, ""));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters and kubectl: cargo xtask test --tools"]
async fn c6_c7_c8_c9_c10_c11_p4_p16_the_document_on_three_api_servers() {
    let server = ClusterServer::start().await;
    tokio::task::block_in_place(|| tell(&server, PROGRAM, "--labels=keystead-local=3"));
}
