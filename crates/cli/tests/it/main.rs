//! `keystead` as a person runs it: the real binary, its output and its exit code.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
mod agents;
mod audit;
mod backup;
mod brief;
mod check;
mod cluster_server;
mod console;
mod doctor;
mod env;
mod evidence;
mod files;
mod gcloud;
mod gcloud_elsewhere;
mod inventory;
mod local_clusters;
mod managed_clusters;
mod migration;
mod platforms;
mod plugin_install;
mod quickstart;
mod real_node;
mod recording;
mod reencrypt;
mod refusals;
mod requests;
mod rollout;
mod scene;
mod server;
mod snapshot;
mod systemd_host;
mod usage;

use std::process::{Command, Output};

/// The binary, with nothing of the test runner's environment that it would read.
fn keystead() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if (text.starts_with("KEYSTEAD_") && text != "KEYSTEAD_CACHE") || text.starts_with("CLOUDSDK_") {
            command.env_remove(name);
        }
    }
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
