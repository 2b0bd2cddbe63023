//! `keystead cluster`, on snapshots and on a real etcd.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keystead_testkit::api::Method;
use keystead_testkit::control_plane::{ControlPlane, Options};
use serde_json::Value;

use crate::{keystead, stderr, stdout};

/// A small file of etcd's format: a plain Secret, one under aescbc, and one deleted.
fn snapshot(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster/etcd/tests/it/snapshots").join(name)
}

fn run(args: &[&str], file: &Path) -> (Option<i32>, String, String) {
    let output = keystead().args(args).arg(file).output().expect("runs");
    (output.status.code(), stdout(&output), stderr(&output))
}

const INVENTORY: [&str; 3] = ["cluster", "snapshot", "inventory"];

#[test]
fn snapshot_is_counted_for_people_and_for_programs() {
    let file = snapshot("good-snapshot-with-hash");
    let (code, out, err) = run(&INVENTORY, &file);
    assert_eq!(code, Some(0), "{err}");
    for words in [
        "revision 4: 1 objects",
        "hash at the end: matches",
        "secrets: all 1 are encrypted.",
        "secrets: 1 old revisions are not encrypted.",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(!out.contains(['#', '\u{2588}']), "no bars into a pipe: {out}");
    let (code, out, _) = run(&["cluster", "snapshot", "inventory", "--format", "json"], &file);
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &report["hash"], &report["current"]["objects"]),
        (Some(0), &"matches".into(), &1.into())
    );
    assert_eq!(report["current"]["groups"][0]["encryption"]["key_name"], "k");
    assert_eq!(report["old"]["groups"][0]["encryption"]["kind"], "plain");
    let (_, out, _) = run(&["cluster", "snapshot", "inventory", "--resource", "pods"], &file);
    assert!(out.contains("Nothing is stored under /registry/pods/"), "{out}");
}

#[test]
fn a_named_resource_of_which_nothing_is_stored_is_told() {
    let file = snapshot("good-snapshot-with-hash");
    let named = ["--resource", "secrets", "--resource", "secretz", "--resource", "nodes"];
    let (code, out, err) = run(&[&INVENTORY[..], &named].concat(), &file);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("secrets: all 1 are encrypted."), "{out}");
    for name in ["secretz", "nodes"] {
        assert!(err.contains(&format!("nothing is stored of {name}; there is secrets")), "{err}");
    }
    assert!(!err.contains("of secrets;"), "{err}");
    let restore = ["cluster", "snapshot", "plan-restore", "--resource", "secretz"];
    let (_, _, err) = run(&restore, &file);
    assert!(err.contains("nothing is stored of secretz; there is secrets"), "{err}");
}

#[test]
fn files_that_are_no_snapshot_are_refused_with_the_way_out() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let json = directory.path().join("secrets.json");
    std::fs::write(&json, "{}").expect("written");
    let changed = directory.path().join("changed");
    let mut bytes = std::fs::read(snapshot("good-snapshot-with-hash")).expect("readable");
    bytes[1000] ^= 1;
    std::fs::write(&changed, bytes).expect("written");
    for (file, code, words) in [
        (json, 1, "it looks like JSON"),
        (directory.path().to_owned(), 1, "member/snap/db"),
        (directory.path().join("none"), 1, "No such file"),
        (snapshot("bad-version"), 1, "version 1"),
        (snapshot("bad-cut-off"), 6, "it has 3000 bytes of 4096"),
        (changed, 6, "the hash at its end is another"),
    ] {
        let (found, _, err) = run(&INVENTORY, &file);
        assert_eq!(found, Some(code), "{err}");
        assert!(err.contains(words), "{words}: {err}");
    }
}

#[test]
fn etcd_that_cannot_be_reached_or_is_named_wrongly_is_told_apart() {
    for (args, code, words) in [
        (&["--endpoints", "http://127.0.0.1:1,http://127.0.0.1:2"][..], 4, "http://127.0.0.1:2"),
        (&["--endpoints", "localhost"], 2, "is not an address of etcd"),
        (
            &["--endpoints", "http://192.0.2.1:2379", "--user", "a", "--password-file", "/none"],
            2,
            "without TLS",
        ),
        (&["--user", "a"], 2, "--password-file"),
        (&["--endpoints", "https://127.0.0.1:1", "--cacert", "/none"], 2, "cannot read /none"),
    ] {
        let output = keystead().args(["cluster", "inventory"]).args(args).output().expect("runs");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{args:?} should mention {words}: {}", stderr(&output));
    }
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn real_etcd_is_counted() {
    let control_plane = ControlPlane::start(Options::default()).await.expect("starts");
    let client = control_plane.api_servers.first().expect("one").client();
    // kube-apiserver is ready before it has made all that it makes by itself.
    for path in [
        "/api/v1/namespaces/default/services/kubernetes",
        "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps",
    ] {
        let start = Instant::now();
        while let Err(error) = client.call(Method::GET, path, None).await {
            assert!(start.elapsed() < Duration::from_secs(60), "{path}: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let output = keystead()
        .args([
            "cluster",
            "inventory",
            "--endpoints",
            &format!("http://127.0.0.1:1,{}", control_plane.etcd().url()),
        ])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("namespaces"), "{}", stdout(&output));
    let read = format!("etcd at {}, revision", control_plane.etcd().url());
    // Names of the API and of the table.
    let endpoint = ["cluster", "inventory", "--format", "json", "--endpoints", control_plane.etcd().url()];
    let named = ["clusterroles.rbac.authorization.k8s.io", "clusterrolebindings", "services", "nodez"];
    let named = named.iter().flat_map(|it| ["--resource", it]);
    let found = keystead().args(endpoint).args(named).output().expect("runs");
    assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
    let report: Value = serde_json::from_str(&stdout(&found)).expect("JSON");
    let groups = report["current"]["groups"].as_array().expect("groups");
    let counted: Vec<_> = groups.iter().filter_map(|it| it["resource"].as_str()).collect();
    assert_eq!(counted, ["clusterrolebindings", "clusterroles", "services/specs"]);
    let told = stderr(&found);
    assert!(told.starts_with("nothing is stored of nodez; there is ") && told.lines().count() == 1, "{told}");
    // Each once, and those behind a path of two parts too.
    for there in ["apiregistration.k8s.io/apiservices", " namespaces,", " services/specs"] {
        assert_eq!(told.matches(there).count(), 1, "{there}: {told}");
    }
    assert!(stdout(&output).starts_with(&read), "the member that was read: {}", stdout(&output));
}

#[test]
fn names_of_the_encryption_configuration_are_taken() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("encryption.yaml");
    let config = |name: &str| {
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - aescbc: {{keys: [{{name: {name}, secret: {key}}}]}}\n"
        )
    };
    let snapshot = snapshot("good-snapshot-with-hash");
    for (text, code, says) in [(config("\"2025:1\""), 0, ""), (config("["), 2, "encryption.yaml: line 6")] {
        std::fs::write(&file, text).expect("written");
        let flag = ["--encryption-provider-config", file.to_str().expect("text")];
        let (status, _, err) = run(&[&INVENTORY[..], &flag].concat(), &snapshot);
        assert_eq!(status, Some(code), "{err}");
        assert!(err.contains(says) && !err.contains("AAAA"), "{err}");
    }
}
