//! The same in a real Chromium: `tests/node/console_story.js`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde_json::Value;

const PROJECT: &str = "console-project";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node clients and a browser"]
async fn k4_u1_u2_u3_u4_in_english_with_script() {
    tell("en", "script").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node clients and a browser"]
async fn k4_u1_u2_u3_u4_in_korean_with_script() {
    tell("ko", "script").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node clients and a browser"]
async fn k4_u1_u2_u3_u4_in_korean_without_script() {
    tell("ko", "no-script").await;
}

/// `KEYSTEAD_SCREENSHOTS` names a folder for what the pages look like.
async fn tell(language: &str, script: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Path::new(env!("CARGO_BIN_EXE_keystead-server"));
    let server = KmsServer::start(program, &directory.path().join("data")).await.expect("a server");
    let story = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/node/console_story.js");
    let part = |name| std::env::var_os(name).unwrap_or_else(|| panic!("{name} is set by `cargo xtask test`"));
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", part("KEYSTEAD_NODE_MODULES"))
        .arg(story)
        .arg(part("KEYSTEAD_BROWSER"))
        .arg(server.endpoint())
        .arg(server.token_file())
        .args([PROJECT, language, script, "keys"])
        .args(std::env::var_os("KEYSTEAD_SCREENSHOTS"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node runs");
    let mut go_on = child.stdin.take().expect("piped");
    let told = BufReader::new(child.stdout.take().expect("piped"));
    let mut steps = Vec::new();
    let mut lines = told.lines();
    while let Some(line) = tokio::task::block_in_place(|| lines.next()) {
        let line = line.expect("text");
        if let Some(step) = line.strip_prefix("ok ") {
            check(&server, step).await;
            steps.push(step.to_owned());
            writeln!(go_on).expect("it waits");
        }
    }
    let status = tokio::task::block_in_place(|| child.wait()).expect("it ends");
    assert!(status.success(), "{language}, {script}: {steps:?}");
    assert_eq!(steps, ["U1", "U2", "U3", "U4", "K4", "destroy", "logout"]);
}

/// What the server itself says after a step.
async fn check(server: &KmsServer, step: &str) {
    let get = async |path: &str| server.ok(Method::GET, path, None).await.expect("answered");
    let ring = format!("projects/{PROJECT}/locations/us-central1/keyRings/{}", "r".repeat(63));
    match step {
        "U1" => {
            let enabled = get(&format!("/v1/projects/{PROJECT}/services?filter=state:ENABLED")).await;
            let names = enabled.to_string();
            assert!(names.contains("cloudkms.googleapis.com") && names.contains("container.googleapis.com"));
        }
        "U2" => assert_eq!(get(&format!("/v1/{ring}")).await["name"], ring),
        "U3" => {
            let key = get(&format!("/v1/{ring}/cryptoKeys/key-1")).await;
            assert_eq!(key["rotationPeriod"], "7776000s");
            assert_eq!(key["labels"]["team"], "security");
        }
        "U4" => {
            let project = get(&format!("/v1/projects/{PROJECT}")).await;
            let number = project["projectNumber"].as_str().expect("a number");
            let account =
                format!("serviceAccount:service-{number}@container-engine-robot.iam.gserviceaccount.com");
            for key in ["key-1", "key-2"] {
                let policy = get(&format!("/v1/{ring}/cryptoKeys/{key}:getIamPolicy")).await;
                let binding: &Value = &policy["bindings"][0];
                assert_eq!(binding["role"], "roles/cloudkms.cryptoKeyEncrypterDecrypter");
                assert_eq!(binding["members"][0], account);
            }
        }
        "K4" => {
            let account = format!("serviceAccount:kms-plugin@{PROJECT}.iam.gserviceaccount.com");
            let tokens = get(&format!("/keystead/v1/tokens?principal={account}")).await;
            assert_eq!(tokens["tokens"].as_array().map(Vec::len), Some(1), "{tokens}");
        }
        "destroy" => {
            let version = get(&format!("/v1/{ring}/cryptoKeys/key-2/cryptoKeyVersions/1")).await;
            assert_eq!(version["state"], "DESTROY_SCHEDULED");
        }
        "logout" => {}
        other => panic!("{other} is told and not checked"),
    }
}
