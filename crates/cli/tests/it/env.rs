//! `keystead env`, and the lines that it prints in a real shell.

use std::fs;
use std::process::Command;

use crate::{keystead, stderr, stdout};

fn endpoint(dir: &std::path::Path, ca: bool) -> String {
    let ca = if ca { format!("{:?}", dir.join("tls/ca.pem")) } else { "null".to_owned() };
    format!(
        r#"{{"endpoint":"https://localhost:40123","addresses":["127.0.0.1:40123"],"plainHttp":[],"caFile":{ca},"tokenFile":{:?}}}"#,
        dir.join("admin-token")
    )
}

#[test]
fn the_lines_survive_a_shell_whatever_the_path() {
    let base = tempfile::tempdir().expect("a directory");
    let dir = base.path().join("it's a $(dir); `x`");
    fs::create_dir(&dir).expect("made");
    fs::write(dir.join("endpoint.json"), endpoint(&dir, true)).expect("written");
    let printed = keystead().args(["env", "--data-dir"]).arg(&dir).output().expect("runs");
    assert!(printed.status.success(), "{}", stderr(&printed));
    let script = "eval \"$1\"; env -0";
    let shell = Command::new("sh").args(["-euc", script, "sh", &stdout(&printed)]).env_clear().output();
    let shell = shell.expect("runs");
    assert!(shell.status.success(), "{}", stderr(&shell));
    let out = stdout(&shell);
    let variable = |name: &str| {
        let found = out.split('\0').find_map(|line| line.strip_prefix(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("{name} is not set")).to_owned()
    };
    for api in ["CLOUDKMS", "CONTAINER", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE", "IAM"] {
        let name = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}");
        assert_eq!(variable(&name), "https://localhost:40123/", "{name}");
    }
    let (ca, token) = (dir.join("tls/ca.pem"), dir.join("admin-token"));
    for name in [
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "NODE_EXTRA_CA_CERTS",
        "KEYSTEAD_CA_FILE",
    ] {
        assert_eq!(variable(name), ca.to_str().expect("UTF-8"), "{name}");
    }
    for name in ["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "KEYSTEAD_TOKEN_FILE"] {
        assert_eq!(variable(name), token.to_str().expect("UTF-8"), "{name}");
    }
    assert_eq!(variable("KEYSTEAD_ENDPOINT"), "https://localhost:40123");
    assert_eq!(variable("CLOUDSDK_AUTH_TOKEN_HOST"), "https://localhost:40123/token");
    // What would take the public authorities from every program is said and not done.
    assert!(!out.contains("REQUESTS_CA_BUNDLE=") && !out.contains("SSL_CERT_FILE="), "{out}");
    for client in
        ["Python, gRPC", "Python, REST", "Node, gRPC", "Node, REST", "Go, gRPC", "Go, REST", "Terraform"]
    {
        assert!(stdout(&printed).contains(client), "{client}");
    }
}

#[test]
fn a_variable_that_wins_over_gclouds_is_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |ca: bool| {
        fs::write(dir.path().join("endpoint.json"), endpoint(dir.path(), ca)).expect("written");
        let mut command = keystead();
        command
            .args(["env", "--data-dir"])
            .arg(dir.path())
            .env("REQUESTS_CA_BUNDLE", "/etc/ca.pem")
            .env_remove("CURL_CA_BUNDLE");
        command.output().expect("runs")
    };
    assert!(
        stderr(&run(true)).contains("warning: this shell has set REQUESTS_CA_BUNDLE, which"),
        "{}",
        stderr(&run(true))
    );
    assert_eq!(stderr(&run(false)), "", "with a given certificate it may be right");
}

#[test]
fn no_server_and_no_directory_are_told_apart_from_a_broken_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = || keystead().args(["env", "--data-dir"]).arg(dir.path()).output().expect("runs");
    let missing = run();
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        stderr(&missing).contains("hint: start the server first: keystead-server --data-dir"),
        "{missing:?}"
    );
    fs::write(dir.path().join("endpoint.json"), "{}").expect("written");
    let broken = run();
    assert_eq!(broken.status.code(), Some(1));
    assert!(stderr(&broken).contains("is not what a server writes"), "{broken:?}");
    assert_eq!(stdout(&broken), "", "nothing for a shell");
    assert_eq!(keystead().arg("env").output().expect("runs").status.code(), Some(2));
}
