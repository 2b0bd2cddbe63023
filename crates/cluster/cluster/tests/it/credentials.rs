//! Plugins and files that a kubeconfig names for credentials. What they write is never repeated.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use keystead_cluster::api::{ApiServer, ConnectError, Kubeconfig};
use keystead_cluster::reencrypt::{Control, Interrupted, Journal, Plan, run};
use keystead_model::ErrorClass;
use keystead_runtime::Failure;
use serde_json::json;

use crate::fake::Fake;
use crate::scene::{connect, secrets};

/// A plugin that fails while the file `broken` is there, and otherwise gives a token for a moment only: it is asked for each call.
const PLUGIN: &str = r#"#!/bin/sh
if [ -e "${0%/*}/broken" ]; then
    . "${0%/*}/broken"
fi
printf '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status":
    {"token": "canary", "expirationTimestamp": "2020-01-01T00:00:00Z"}}'
"#;
const BROKEN: [&str; 3] = [
    "printf '{\"status\": {\"token\": \"canary\", '; exit 0\n",
    "printf '{\"status\": {\"token\": [\"canary\"]}}'; exit 0\n",
    "echo canary; echo canary >&2; exit 1\n",
];

#[tokio::test]
async fn what_a_plugin_writes_is_not_repeated_when_it_fails() -> Result<()> {
    let fake = Fake::start(3, None).await?;
    for broken in BROKEN {
        let directory = tempfile::tempdir()?;
        let kubeconfig = with_plugin(directory.path(), &fake.url)?;
        fs::write(directory.path().join("broken"), broken)?;
        let files = Some(kubeconfig.display().to_string());
        let error = ApiServer::connect(&Kubeconfig { files, context: None }).await.expect_err(broken);
        assert!(matches!(error, ConnectError::Credentials { .. }), "not as it should be: {broken}");
        assert_eq!(error.class(), ErrorClass::Unauthenticated);
        assert!(!says(&error).contains("canary"), "{broken}");

        // The same in the middle of a run.
        fs::remove_file(directory.path().join("broken"))?;
        let server = connect(&kubeconfig).await?;
        let plan = Plan::make(&server, secrets()).await?;
        fs::write(directory.path().join("broken"), broken)?;
        // Nothing that is waited for.
        let control = Control { patience: Duration::from_millis(1), ..Control::default() };
        let run = run(&server, &plan, Journal::open(None, &plan)?, control, &mut |_| ()).await;
        let interrupted = run.interrupted.expect("interrupted");
        assert!(matches!(interrupted, Interrupted::Credentials(_)), "not as it should be: {broken}");
        assert!(!says(&interrupted).contains("canary"), "{broken}");
    }
    Ok(())
}

#[tokio::test]
async fn of_several_kubeconfigs_those_that_are_missing_are_left_out() -> Result<()> {
    let fake = Fake::start(1, None).await?;
    let directory = tempfile::tempdir()?;
    let there = with_plugin(directory.path(), &fake.url)?.display().to_string();
    let at = |files: String| Kubeconfig { files: Some(files), context: None };
    assert_eq!(ApiServer::connect(&at(format!("/nonexistent:{there}"))).await?.cluster(), "cluster-a");
    assert_eq!(ApiServer::connect(&at(format!("{there}:/nonexistent"))).await?.cluster(), "cluster-a");
    for files in ["/nonexistent", "/nonexistent:/nonexistent-either"] {
        let error = ApiServer::connect(&at(files.to_owned())).await.expect_err("none is there");
        assert_eq!(error.to_string(), "cannot read the kubeconfig /nonexistent");
    }
    Ok(())
}

#[tokio::test]
async fn several_kubeconfigs_are_merged_and_the_first_that_says_something_is_right() -> Result<()> {
    let fake = Fake::start(1, None).await?;
    let directory = tempfile::tempdir()?;
    let write = |name: &str, text: serde_json::Value| {
        let path = directory.path().join(name);
        fs::write(&path, text.to_string()).map(|()| path.display().to_string())
    };
    let server = |url: &str| json!([{"name": "c", "cluster": {"server": url}}]);
    let contexts = json!([{"name": "c", "context": {"cluster": "c", "user": "u"}}]);
    let first = write("first", json!({"current-context": "c", "contexts": contexts}))?;
    let second = write(
        "second",
        json!({"clusters": server(&fake.url), "users": [{"name": "u", "user": {"token": "t"}}]}),
    )?;
    let third = write("third", json!({"current-context": "d", "clusters": server("http://127.0.0.1:1")}))?;
    let files = Some(format!("{first}:{second}:/nonexistent:{third}"));
    let server = ApiServer::connect(&Kubeconfig { files, context: None }).await?;
    assert_eq!((server.cluster(), server.url()), ("cluster-a", fake.url.as_str()));
    Ok(())
}

fn with_plugin(directory: &Path, url: &str) -> Result<PathBuf> {
    let plugin = directory.join("plugin");
    fs::write(&plugin, PLUGIN)?;
    // Through a shell, because a file that was just written may still be open in a child of another test.
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/sh",
        "args": [plugin],
        "env": [{"name": "KEYSTEAD_TEST", "value": "canary"}],
        "interactiveMode": "Never",
    });
    let kubeconfig = directory.join("kubeconfig");
    let text = json!({
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"exec": exec}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    fs::write(&kubeconfig, text.to_string())?;
    Ok(kubeconfig)
}

/// All that a person may get to see of an error.
fn says(error: &(dyn std::error::Error + 'static)) -> String {
    format!("{} {error:?}", Failure::from_error(error))
}
