//! `keystead cluster reencrypt --via storage-version-migration`, with the real kube-controller-manager.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use keystead_testkit::api::{Kind, Method};
use keystead_testkit::control_plane::{ControlPlane, ControllerManager, Options};
use serde_json::{Value, json};

use crate::reencrypt::{encrypted_later, kubeconfig, reencrypt};
use crate::{keystead, stderr, stdout};

const SECRETS: usize = 300;
const CONTROLLERS: [&str; 2] = ["garbage-collector-controller", "storage-version-migrator-controller"];
const MIGRATIONS: &str = "/apis/storagemigration.k8s.io/v1/storageversionmigrations";

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn an_api_without_migrations_is_told_with_what_it_takes_and_the_way_that_takes_nothing() {
    let args = vec!["--runtime-config=storagemigration.k8s.io/v1=false".to_owned()];
    let cluster = ControlPlane::start(Options { args, ..Options::default() }).await.expect("a control plane");
    for more in ["--yes", "--dry-run"] {
        let output = by_migration(&kubeconfig(&cluster), &[more, "--no-state"]).output().expect("runs");
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains("serves no StorageVersionMigration: of storagemigration.k8s.io it serves nothing"),
            "{told}"
        );
        assert!(
            told.contains("hint: from 1.37 on it is there unless") && told.contains("without --via"),
            "{told}"
        );
    }
    let output = by_migration(&kubeconfig(&cluster), &["--namespace", "default"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("as it likes, and annotates none"), "{}", stderr(&output));
}

#[tokio::test]
#[ignore = "needs the real node: cargo xtask test --tools"]
async fn a_migration_goes_on_without_us_is_found_again_and_proven_afterwards() {
    let cluster = encrypted_later(SECRETS).await;
    let kubeconfig = kubeconfig(&cluster);
    let client = cluster.api_servers[0].client();
    let state = cluster.directory().join("state.json");
    let state = state.to_str().expect("text");

    // Nobody carries it out yet.
    let mut child = by_migration(&kubeconfig, &["--state", state, "--yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let waits = "waits: kube-controller-manager has not begun with keystead-secrets";
    assert!(lines.any(|it| it.is_ok_and(|it| it.contains(waits))), "it does not say so");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("runs");
    assert!(interrupt.success());
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("read");
    assert_eq!(child.wait().expect("ended").code(), Some(3), "{text}");
    assert!(text.contains("next: kube-controller-manager goes on with the migration"), "{text}");
    let made = client.call(Method::GET, MIGRATIONS, None).await.expect("a list");
    assert_eq!(made["items"].as_array().map(Vec::len), Some(1), "{made}");
    let uid = &made["items"][0]["metadata"]["uid"];

    let manager = ControllerManager::start(&cluster, &CONTROLLERS).await.expect("starts");
    // It ends while nobody watches, and is the same one.
    let ended = until(async || {
        let all = client.call(Method::GET, MIGRATIONS, None).await.expect("a list");
        let conditions = all["items"][0]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        (&all["items"][0]["metadata"]["uid"] == uid
            && conditions.iter().any(|it| it["type"] == "Succeeded" && it["status"] == "True"))
        .then_some(())
    });
    assert!(ended.await.is_some(), "{}", manager.log());
    let output =
        by_migration(&kubeconfig, &["--state", state, "--yes", "--format", "json"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stderr(&output), manager.log());
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(
        (&report["via"], &report["ending"], &report["resumed"]),
        (&"storage_version_migration".into(), &"all_current".into(), &true.into()),
        "{report}"
    );
    let counts = |pass: usize| &report["passes"][pass]["resources"]["secrets"]["counts"];
    // The API server's own objects are among them.
    let first = counts(0)["rewritten"].as_u64().expect("a count");
    assert!(first >= SECRETS as u64, "{report}");
    assert_eq!(report["passes"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(counts(1), &json!({"current": first}), "{report}");
    assert_eq!(stored_under(&cluster), json!({"one": first}));
    let left = client.call(Method::GET, MIGRATIONS, None).await.expect("a list");
    assert_eq!(left["items"].as_array().map(Vec::len), Some(0), "{left}");

    // From beginning to end, with nothing to write.
    let output = by_migration(&kubeconfig, &["--state", state, "--yes"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stderr(&output), manager.log());
    assert!(stdout(&output).contains(&format!("secrets: {first} already current")), "{}", stdout(&output));
}

#[tokio::test]
#[ignore = "needs the real node: cargo xtask test --tools"]
async fn a_migration_that_an_object_stops_is_named_and_made_anew_when_that_is_settled() {
    let cluster = encrypted_later(SECRETS).await;
    let kubeconfig = kubeconfig(&cluster);
    let client = cluster.api_servers[0].client();
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({
        "metadata": {"name": "freeze"},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["UPDATE"]},
            ]},
            "validations": [{"expression": "object.metadata.name != 's-0007'", "message": "it is frozen"}],
        },
    });
    let path = format!("{admission}/validatingadmissionpolicies");
    client.call(Method::POST, &path, Some(&policy)).await.expect("made");
    let binding = json!({"metadata": {"name": "freeze"}, "spec": {"policyName": "freeze", "validationActions": ["Deny"]}});
    let bindings = format!("{admission}/validatingadmissionpolicybindings");
    client.call(Method::POST, &bindings, Some(&binding)).await.expect("made");
    let denied = until(async || {
        let mut frozen = client.get(Kind::Secret, "default", "s-0007").await.expect("it is there");
        frozen.data.insert("more".to_owned(), b"1".to_vec());
        client.update(&frozen).await.err()
    });
    assert!(denied.await.is_some(), "the policy is never in force");

    let manager = ControllerManager::start(&cluster, &CONTROLLERS).await.expect("starts");
    let output = by_migration(&kubeconfig, &["--no-state", "--yes"]).output().expect("runs");
    let (text, told) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(3), "{told}\n{}", manager.log());
    assert!(text.contains("secrets: 1 migration failed") && text.contains("it is frozen"), "{text}");
    assert!(told.contains("1 in-tree migrations failed"), "{told}");

    client.call(Method::DELETE, &format!("{bindings}/freeze"), None).await.expect("gone");
    let allowed = until(async || {
        let frozen = client.get(Kind::Secret, "default", "s-0007").await.expect("it is there");
        client.update(&frozen).await.ok()
    });
    assert!(allowed.await.is_some(), "the policy is for ever in force");
    let output = by_migration(&kubeconfig, &["--no-state", "--yes"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stderr(&output), manager.log());
    let stored = stored_under(&cluster);
    assert_eq!(
        stored.as_object().map(|it| it.keys().collect::<Vec<_>>()),
        Some(vec![&"one".to_owned()]),
        "{stored}"
    );
}

fn by_migration(kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = reencrypt(kubeconfig, args);
    command.args(["--via", "storage-version-migration"]);
    command
}

/// How many Secrets etcd has under each key; `plain` is none.
fn stored_under(cluster: &ControlPlane) -> Value {
    let args = ["cluster", "inventory", "--resource", "secrets", "--format", "json", "--endpoints"];
    let output: Output = keystead().args(args).arg(cluster.etcd().url()).output().expect("runs");
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let groups = report["current"]["groups"].as_array().cloned().unwrap_or_default();
    let name = |it: &Value| it["encryption"]["key_name"].as_str().unwrap_or("plain").to_owned();
    groups.iter().map(|it| (name(it), it["objects"].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// Asks again and again, for five minutes at most: a migration begins with a bookmark of its watch, which comes once a minute.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(300) {
        if let Some(found) = look().await {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}
