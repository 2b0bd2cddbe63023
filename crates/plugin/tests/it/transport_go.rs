//! Real grpc-go clients, and frames from Go's own HTTP/2 library: answers behind our transport are the ones that a
//! grpc-go server gives to the same requests.

use std::process::{Command, Stdio};

use keystead_plugin::transport::SocketSettings;
use serde::Deserialize;

use crate::transport_echo::Running;

/// grpc-go as in Kubernetes today: the socket path percent-encoded.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kms-client: cargo xtask test"]
async fn grpc_go_gets_the_answers_of_a_grpc_go_server() {
    compare("KEYSTEAD_GO_KMS_CLIENT").await;
}

/// grpc-go 1.56.3 as in Kubernetes 1.28: the socket path raw.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kms-client-1.56: cargo xtask test"]
async fn grpc_go_1_56_gets_the_answers_of_a_grpc_go_server() {
    compare("KEYSTEAD_GO_KMS_CLIENT_156").await;
}

#[derive(Deserialize)]
struct Scenario {
    name: String,
    ours: Vec<String>,
    reference: Vec<String>,
}

async fn compare(program: &str) {
    let program = std::env::var_os(program).unwrap_or_else(|| panic!("{program} names the program"));
    // A space, and letters of two bytes each, to see how the path itself is sent.
    let server = Running::start_with("küms öf ours.sock", SocketSettings::default());
    let socket = server.path.clone();
    // The same frames every time; a new seed is worth a try after each change of the scanner.
    let seed = std::env::var("KEYSTEAD_SEED").unwrap_or_else(|_| "1".to_owned());
    let run = move || {
        let mut command = Command::new(program);
        command.arg("-socket").arg(socket).args(["-seed", &seed]).stderr(Stdio::inherit());
        command.output().expect("the program runs")
    };
    let output = tokio::task::spawn_blocking(run).await.expect("no panic");
    assert!(output.status.success(), "{}", output.status);

    let scenarios: Vec<Scenario> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(scenarios.len() > 40, "{}", scenarios.len());
    for Scenario { name, ours, reference } in scenarios {
        assert_eq!(ours.len(), reference.len(), "{name}");
        for (number, (ours, reference)) in ours.iter().zip(&reference).enumerate() {
            assert_eq!(ours, reference, "{name}, call {number}");
        }
        let served =
            ours.iter().filter(|answer| answer.starts_with("ok ") || answer.starts_with("0 ")).count();
        // Of each five seeds one is empty, which is an error.
        assert!(served * 10 >= ours.len() * 6, "{name}: {served} of {} served", ours.len());
    }
    server.stop().await;
}
