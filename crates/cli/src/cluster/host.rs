//! `keystead cluster host`

use std::io::Read;

use keystead_cluster::executor::HostReply;
use keystead_cluster::host::Task;
use keystead_model::Exit;
use keystead_runtime::{Failure, print_result};
use zeroize::Zeroizing;

use super::rollout_args::LocalArgs;

/// Do one thing on this host that a rollout over ssh asks for: it reads a task from standard input and writes an answer
///
/// `cluster enable` and its kind run it on other hosts with `--over ssh`. A task is to look at kube-apiserver's files and plugins, to have a
/// plugin unwrap something, or to change those files in one of a few ways.
#[derive(Debug, clap::Args)]
pub(crate) struct HostArgs {
    #[command(flatten)]
    local: LocalArgs,
}

/// Bytes of the longest task: some wrapped seeds, of at most 34 KiB each, as numbers.
const TASK_MAX: u64 = 16 << 20;

pub(super) fn run(args: &HostArgs) -> Result<(), Failure> {
    // It may hold keys.
    let mut text = Zeroizing::new(Vec::new());
    let read = std::io::stdin().lock().take(TASK_MAX).read_to_end(&mut text);
    read.map_err(|error| Failure::new(format!("cannot read the task from standard input: {error}")))?;
    let task: Task = serde_json::from_slice(&text).map_err(|error| {
        Failure::new(format!("standard input has no task of this version: {error}")).usage().hint(
            "install the same version of keystead on all control-plane hosts; people use `keystead cluster status`".to_owned(),
        )
    })?;
    let host = args.local.host()?;
    let reply = HostReply::of(crate::runtime()?.block_on(host.perform(&task)));
    let text = serde_json::to_string(&reply)
        .map_err(|error| Failure::new(format!("the answer has no form: {error}")).exit(Exit::Bug))?;
    print_result(&text)
}
