//! When and from where a credential was last used, asked of a real server process before and after it was ended.

use std::time::Duration;

use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server_process::BINARY;

/// The schedule writes every five seconds; a busy machine gets more.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_last_use_is_written_by_itself_and_outlives_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = KmsServer::start(BINARY.as_ref(), &directory.path().join("data")).await.expect("starts");
    let wanted = json!({ "principal": "user:alice@example.com", "ttl": "3600s" });
    let made = server.ok(Method::POST, "/keystead/v1/tokens", Some(&wanted)).await.expect("made");
    assert_eq!(made["token"].get("lastUseTime"), None);
    let secret = made["secret"].as_str().expect("a secret");
    server.call_as(secret, Method::GET, "/v1/projects", None).await.expect("answered");

    let written = tokio::time::timeout(PATIENCE, async {
        loop {
            let token = listed(&server).await;
            if token.get("lastUseTime").is_some() {
                return token;
            }
            tokio::task::yield_now().await;
        }
    });
    let token = written.await.expect("it is written");
    assert!(token["lastUseTime"].as_str() >= token["createTime"].as_str(), "{token}");
    assert_eq!(token["lastUseAddress"], "127.0.0.1");
    server.kill_and_restart().await.expect("starts again");
    assert_eq!(listed(&server).await, token);
}

async fn listed(server: &KmsServer) -> Value {
    let path = "/keystead/v1/tokens?principal=user:alice@example.com";
    let listed = server.ok(Method::GET, path, None).await.expect("listed");
    listed["tokens"][0].clone()
}
