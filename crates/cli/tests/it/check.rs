use std::path::Path;
use std::time::{Duration, Instant};

use keystead_testkit::process::Process;

use crate::{keystead, stderr, stdout};

const PATIENCE: Duration = Duration::from_secs(20);

/// Our own plugin, as a process of its own.
async fn plugin(directory: &Path) -> Process {
    let key_file = directory.join("key");
    let made =
        keystead().args(["plugin", "key", "create", "--key-file"]).arg(&key_file).output().expect("runs");
    assert!(made.status.success(), "{}", stderr(&made));
    let socket = directory.join("kms.sock");
    let args = ["plugin", "run", "--admin", "off", "--probe-interval", "200ms", "--socket"];
    let mut args: Vec<std::ffi::OsString> = args.map(Into::into).to_vec();
    args.extend([socket.clone().into(), "--key-file".into(), key_file.into()]);
    let program = Path::new(env!("CARGO_BIN_EXE_keystead"));
    let process = Process::spawn(program, &args, &directory.join("log")).await.expect("starts");
    let start = Instant::now();
    while tokio::net::UnixStream::connect(&socket).await.is_err() {
        assert!(start.elapsed() < PATIENCE, "{}", process.tail());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process
}

#[tokio::test]
async fn k1_k2_our_plugin_passes_every_check_of_its_own_suite() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let _plugin = plugin(directory.path()).await;
    let socket = directory.path().join("kms.sock");
    let key_file = directory.path().join("key");
    let rotate = format!(
        "rotate={} plugin key rotate --single-host --key-file {}",
        env!("CARGO_BIN_EXE_keystead"),
        key_file.display()
    );
    let mut command = keystead();
    command.args(["plugin", "check", "--format", "json", "--kms", "both", "--hook", &rotate, "--socket"]);
    let output = command.arg(&socket).output().expect("runs");
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    let not_good: Vec<_> = findings
        .iter()
        .filter(|finding| finding["verdict"] == "fail" || finding["verdict"] == "warn")
        .collect();
    assert!(not_good.is_empty(), "{not_good:#?}");
    assert!(findings.iter().filter(|finding| finding["verdict"] == "pass").count() > 40, "{report:#}");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn nobody_at_the_socket_is_a_failed_verification() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let socket = directory.path().join("kms.sock");
    let output = keystead().args(["plugin", "check", "--timeout", "200ms", "--socket"]).arg(&socket).output();
    let output = output.expect("runs");
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
}

#[tokio::test]
async fn bench_measures_every_operation_beside_the_limit() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let _plugin = plugin(directory.path()).await;
    let mut command = keystead();
    command.args(["plugin", "bench", "--baseline", "--format", "json", "--clients", "1,4"]);
    command.args(["--time", "40ms", "--rounds", "2", "--socket"]);
    let output = command.arg(directory.path().join("kms.sock")).output().expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let cells = report["cells"].as_array().expect("cells");
    assert_eq!(cells.len(), 2 * 3 * 2, "targets, operations, numbers of clients: {report:#}");
    for cell in cells {
        assert!(cell["requests"].as_u64().is_some_and(|requests| requests > 0), "{cell:#}");
    }
}
