//! Two hosts from which the same cluster is changed.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use super::fleet::Fleet;
use super::load::Load;

/// A command that runs.
pub(super) struct Driver {
    pub(super) child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Driver {
    pub(super) fn start(command: std::process::Command) -> Self {
        let mut command = tokio::process::Command::from(command);
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("runs");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, lines }
    }

    pub(super) async fn says(&mut self, beginning: &str) {
        let mut text = String::new();
        while let Some(line) = self.lines.next_line().await.expect("text") {
            if line.starts_with(beginning) {
                return;
            }
            text.push_str(&line);
            text.push('\n');
        }
        panic!("it never says {beginning}: {text}");
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|it| i32::try_from(it).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("sent");
    }

    /// Its exit code, and what it said since it was last listened to.
    pub(super) async fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        while let Some(line) = self.lines.next_line().await.expect("text") {
            text.push_str(&line);
            text.push('\n');
        }
        (self.child.wait().await.expect("it ended").code(), text)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane and an hour: cargo xtask test --tools"]
async fn k8_one_host_at_a_time_drives_and_another_one_goes_on_where_it_was_killed() {
    let fleet = Fleet::start("1.37.2", 3).await;
    fleet.create_secrets(100).await;
    let load = Load::start(&fleet.clients, 30).await;

    let mut first = Driver::start(fleet.command(&["enable", "--yes"]));
    first.says("now: write ").await;
    let second = fleet.keystead_on(2, &["enable", "--yes"]).await;
    assert_eq!(second.code, Some(1), "{second}");
    assert!(second.stderr.contains("another rollout is under way"), "{second}");
    assert!(first.child.try_wait().expect("known").is_none(), "the first one goes on");
    first.child.kill().await.expect("killed");
    // It has no record of its own: what it needs is shared.
    let follower = fleet.keystead_on(1, &["continue", "--yes"]).await;
    assert_eq!(follower.code, Some(0), "{follower}");
    assert_eq!(fleet.stored("secrets").await, ["kms:v2:keystead"]);
    let back = fleet.keystead(&["continue", "--yes"]).await;
    assert_eq!(back.code, Some(1), "the first host knows what the second one did: {back}");
    assert!(back.stderr.contains("the last rollout is done"), "{back}");

    // One that stood still while another one took over does nothing more.
    let mut paused = Driver::start(fleet.command(&["disable", "--yes"]));
    paused.says("now: write ").await;
    paused.signal(Signal::STOP);
    let follower = fleet.keystead_on(2, &["disable", "--yes"]).await;
    assert_eq!(follower.code, Some(0), "{follower}");
    assert_eq!(fleet.stored("secrets").await, ["identity"]);
    let manifests: Vec<String> = (0..3).map(|it| fleet.manifest(it)).collect();
    paused.signal(Signal::CONT);
    let (code, said) = paused.end().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has taken the Lease"), "{said}");
    assert_eq!(manifests, (0..3).map(|it| fleet.manifest(it)).collect::<Vec<_>>());
    assert!(!manifests.concat().contains("encryption-provider-config"), "{manifests:?}");
    load.stop().await.assert_nothing_lost(&fleet.clients).await;
}
