use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{keystead, stderr, stdout};

/// Nothing of a control plane is found from here.
fn nowhere(command: &mut std::process::Command) -> &mut std::process::Command {
    command.env("KEYSTEAD_CACHE", "/nonexistent").env("PATH", "/usr/bin:/bin")
}

fn proves(story: &str) {
    for fact in [
        "Secret `before` in etcd:",
        "Losing a version of a key loses the Secrets under it",
        "$ keystead kms keys add-iam-policy-binding secrets --keyring clusters",
        "@container-engine-robot.iam.gserviceaccount.com --role roles/cloudkms.cryptoKeyEncrypterDecrypter",
        "KMS_KEY_ID=projects/quickstart/locations/europe-west1/keyRings/clusters/cryptoKeys/secrets",
        "k8s:enc:kms:v2:k",
        "25 Secrets under key_id cloudkms-v1-a1-",
        "$ keystead kms keys versions create --primary --key secrets",
        "rewrote 25, and 0 when it ran again",
        "25 Secrets under key_id cloudkms-v2-a2-",
        "proved in ",
    ] {
        assert!(story.contains(fact), "{fact}: {story}");
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("directory");
    entries.map(|entry| entry.expect("entry").path()).collect()
}

#[test]
fn without_a_control_plane_it_says_so_and_names_the_command_that_builds_one() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let mut command = keystead();
    let output =
        nowhere(&mut command).args(["quickstart", "--check"]).env("TMPDIR", temporary.path()).output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    proves(&stdout(&output));
    assert!(stdout(&output).contains("cargo xtask control-plane"));
    assert_eq!(entries(temporary.path()), Vec::<PathBuf>::new(), "nothing is left behind");
}

#[test]
fn given_directory_stays_and_is_never_taken_over() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let directory = temporary.path().join("mine");
    let mut command = keystead();
    nowhere(&mut command).args(["quickstart", "--check", "--dir"]).arg(&directory);
    assert!(command.output().expect("runs").status.success());
    for file in ["server/keystead.db", "server.log", "plugin.log"] {
        assert!(directory.join(file).exists(), "{file}");
    }
    let credentials =
        std::fs::metadata(directory.join("credentials.json")).expect("the plugin's credentials");
    assert_eq!(credentials.permissions().mode() & 0o777, 0o600);
    assert!(!directory.join("token").exists(), "the token is in one place");
    assert_eq!(entries(temporary.path()), [directory.as_path()], "nothing beside it");

    let again = command.output().expect("runs");
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains(&directory.display().to_string()), "{}", stderr(&again));
}

#[test]
fn given_control_plane_that_is_not_there_is_an_error() {
    let output = keystead().args(["quickstart", "--check", "--control-plane", "/nonexistent"]).output();
    let output = output.expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent"), "{}", stderr(&output));
}

#[test]
#[ignore = "needs the control plane: cargo xtask test"]
fn p18_on_a_real_control_plane_rotation_then_re_encryption_moves_every_secret() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let output = keystead().args(["quickstart", "--check"]).env("TMPDIR", temporary.path()).output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    proves(&stdout(&output));
    assert!(stdout(&output).contains("control plane: "), "a real one: {}", stdout(&output));
    assert_eq!(entries(temporary.path()), Vec::<PathBuf>::new(), "nothing is left behind");
}

#[test]
fn a_whole_cluster_needs_more_programs_and_the_command_that_builds_them_is_named() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    for name in ["kube-apiserver", "etcd"] {
        std::fs::write(temporary.path().join(name), "").expect("written");
    }
    let mut command = keystead();
    nowhere(&mut command)
        .args(["quickstart", "--cluster", "--check", "--control-plane"])
        .arg(temporary.path());
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no kube-controller-manager"), "{}", stderr(&output));
    assert!(stderr(&output).contains("cargo xtask control-plane --local-clusters"), "{}", stderr(&output));
}

#[test]
#[ignore = "needs the local clusters: cargo xtask test --tools"]
fn c6_c9_p16_a_whole_cluster_is_made_encrypted_and_described() {
    // Paths of sockets are short.
    let temporary = tempfile::Builder::new().prefix("qs").tempdir_in("/tmp").expect("temporary directory");
    let programs = std::env::var("KEYSTEAD_KUBERNETES_PROGRAMS").expect("set by cargo xtask test --tools");
    let mut command = keystead();
    command.args(["quickstart", "--cluster", "--check", "--control-plane", &programs]);
    let output = command.env("TMPDIR", temporary.path()).output().expect("runs");
    let story = stdout(&output);
    assert!(output.status.success(), "{story}{}", stderr(&output));
    let key = "projects/quickstart/locations/europe-west1/keyRings/clusters/cryptoKeys/secrets";
    for fact in [
        "$ keystead container clusters create demo --cluster-version=latest --region europe-west1".to_owned(),
        format!("keyName={key};state=ENCRYPTED\n"),
    ] {
        assert!(story.contains(&fact), "{fact}: {story}");
    }
    assert_eq!(entries(temporary.path()), Vec::<PathBuf>::new(), "nothing is left behind");
}
