//! Nothing outlives a test process that dies without a chance to clean up.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use keystead_testkit::control_plane::{ControlPlane, Options};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Set in the process that is to be killed.
const HOLDER: &str = "KEYSTEAD_TEST_HOLDER";

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn kill_9_leaves_no_process_behind() -> anyhow::Result<()> {
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["--exact", "killed::holder", "--include-ignored", "--nocapture"])
        .env(HOLDER, "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut output = BufReader::new(holder.stdout.take().context("piped")?).lines();
    let mut pids = Vec::new();
    let directory = loop {
        let line = output.next_line().await?.context("the holder ended early")?;
        if let Some(pid) = line.strip_prefix("pid ") {
            let pid = Pid::from_raw(pid.parse()?).context("not 0")?;
            pids.push(pidfd_open(pid, PidfdFlags::empty())?);
        } else if let Some(directory) = line.strip_prefix("directory ") {
            break PathBuf::from(directory);
        }
    };
    assert_eq!(pids.len(), 3);

    holder.start_kill()?;
    holder.wait().await?;
    for pid in &pids {
        // Readable when the process has ended.
        let ready = poll(&mut [PollFd::new(pid, PollFlags::IN)], Some(&Timespec { tv_sec: 10, tv_nsec: 0 }))?;
        assert_eq!(ready, 1, "a process is still there");
    }
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

/// Holds a control plane until it is killed; does nothing in an ordinary run.
#[tokio::test]
async fn holder() -> anyhow::Result<()> {
    if std::env::var_os(HOLDER).is_none() {
        return Ok(());
    }
    let control_plane = ControlPlane::start(Options { api_servers: 2, ..Options::default() }).await?;
    let servers = control_plane.api_servers.iter().filter_map(|it| it.pid());
    for pid in servers.chain([control_plane.etcd().pid()]) {
        println!("pid {pid}");
    }
    println!("directory {}", control_plane.directory().display());
    std::future::pending().await
}
