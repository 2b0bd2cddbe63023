//! `keystead cluster reencrypt` as a person runs it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options};
use serde_json::Value;

use crate::{keystead, stderr, stdout};

const SECRETS: usize = 1500;

pub(crate) fn reencrypt(kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = keystead();
    command.args(["cluster", "reencrypt", "--kubeconfig"]).arg(kubeconfig).args(args);
    command
}

fn ended(command: &mut Command) -> (Option<i32>, Output) {
    let output = command.output().expect("runs");
    (output.status.code(), output)
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_refused_and_not_repeated() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("kubeconfig");
    let good = |url: &str| {
        format!(
            "current-context: c\nclusters: [{{name: c, cluster: {{server: \"{url}\"}}}}]\nusers: [{{name: u, user: {{token: canary}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
        )
    };
    let unreachable = good("https://127.0.0.1:1");
    for (text, args, code, says) in [
        ("users:\n- name: u\n  user: {token: [canary]}\n", &[][..], 2, "line 3"),
        ("users:\n- name: u\n  user: {token: canary\n\tb", &[], 2, "is not a kubeconfig"),
        ("", &[], 2, "no current context"),
        (&unreachable, &["--context", "d"], 2, "it has no context d"),
        (&unreachable, &[], 4, "cannot be reached"),
        (&good("no url\u{7f}"), &[], 2, "is not a kubeconfig"),
    ] {
        fs::write(&file, text).expect("writes");
        let (status, output) = ended(&mut reencrypt(&file, args));
        let text = stderr(&output);
        assert_eq!(status, Some(code), "{text}");
        assert!(text.contains(says) && text.contains("hint: "), "{says}: {text}");
        assert!(!text.contains("canary"), "{text}");
    }
    let (status, output) = ended(&mut reencrypt(Path::new("/nonexistent"), &[]));
    assert_eq!(status, Some(2), "{}", stderr(&output));
    let (status, output) = ended(&mut reencrypt(&file, &["--only-namespaces"]));
    assert_eq!(status, Some(2), "{}", stderr(&output));
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn a_run_that_is_stopped_or_killed_goes_on_and_proves_itself() {
    let cluster = encrypted_later(SECRETS).await;
    let kubeconfig = kubeconfig(&cluster);
    let state = cluster.directory().join("state.json");
    let state = state.to_str().expect("text");

    let (status, output) = ended(&mut reencrypt(&kubeconfig, &["--state", state]));
    assert_eq!(status, Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(&format!("secrets in all namespaces, {SECRETS} objects")),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("hint: run it again with --yes"), "{}", stderr(&output));
    let (status, output) = ended(&mut reencrypt(&kubeconfig, &["--dry-run", "--format", "json"]));
    assert_eq!(status, Some(0), "{}", stderr(&output));
    let plan: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(plan["steps"][0]["objects"], SECRETS);

    // One at a time, so that a signal comes in the middle.
    let slow = ["--state", state, "--yes", "--concurrency-max", "1"];
    let mut child = started(&mut reencrypt(&kubeconfig, &slow));
    child.kill().expect("killed");
    child.wait().expect("ended");
    let mut child = started(&mut reencrypt(&kubeconfig, &slow));
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("runs");
    assert!(interrupt.success());
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("read");
    assert_eq!(child.wait().expect("ended").code(), Some(3), "{text}");
    assert!(text.contains("run the same command again: it goes on where it stopped"), "{text}");

    let other = ["--state", state, "--yes", "--annotate", "now"];
    let (status, output) = ended(&mut reencrypt(&kubeconfig, &other));
    assert_eq!(status, Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("with other options: secrets"), "{}", stderr(&output));

    let (status, output) =
        ended(&mut reencrypt(&kubeconfig, &["--state", state, "--yes", "--format", "json"]));
    assert_eq!(status, Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("goes on in pass 1"), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!((&report["ending"], &report["resumed"]), (&"all_current".into(), &true.into()), "{report}");
    let last = report["passes"].as_array().and_then(|it| it.last()).expect("a pass");
    assert_eq!(last["resources"]["secrets"]["counts"], serde_json::json!({"current": SECRETS}), "{report}");
    let (status, output) = ended(&mut reencrypt(&kubeconfig, &["--state", state, "--yes"]));
    assert_eq!(status, Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains(&format!("secrets: {SECRETS} already current")), "{}", stdout(&output));
    assert!(!stdout(&output).contains("canary") && !stderr(&output).contains("canary"));

    // With a way to etcd, which must be this cluster's.
    let etcd = ["--no-state", "--yes", "--endpoints", cluster.etcd().url()];
    let (status, output) = ended(&mut reencrypt(&kubeconfig, &etcd));
    assert_eq!(status, Some(0), "{}", stderr(&output));
    let (status, output) = ended(reencrypt(&kubeconfig, &etcd).args(["--etcd-prefix", "/other"]));
    assert_eq!(status, Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("does not hold this cluster below /other"), "{}", stderr(&output));
}

/// Runs until it says on standard error that it has begun.
fn started(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let stderr = child.stderr.as_mut().expect("piped");
    let mut lines = BufReader::new(stderr).lines();
    let begun = lines.find(|it| it.as_ref().is_ok_and(|it| it.contains("pass 1, secrets")));
    assert!(begun.is_some(), "it did not begin");
    child
}

/// So many Secrets in plain, behind an API server that encrypts now.
pub(crate) async fn encrypted_later(secrets: usize) -> ControlPlane {
    let mut cluster = ControlPlane::start(Options::default()).await.expect("a control plane");
    let server = cluster.api_servers.first_mut().expect("an API server");
    for index in 0..secrets {
        let secret = Object::new(Kind::Secret, "default", &format!("s-{index:04}"), "key", b"canary");
        server.client().create(&secret).await.expect("created");
    }
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let config = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources: [secrets]\n    providers:\n      - secretbox: {{keys: [{{name: one, secret: {key}}}]}}\n      - identity: {{}}\n"
    );
    server.set_encryption(Some(&config)).expect("set");
    server.restart().await.expect("restarted");
    cluster
}

pub(crate) fn kubeconfig(cluster: &ControlPlane) -> PathBuf {
    let server = cluster.api_servers.first().expect("an API server");
    let path = cluster.directory().join("admin.conf");
    fs::write(&path, server.kubeconfig(server.token())).expect("writes");
    path
}
