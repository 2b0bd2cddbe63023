//! `keystead local-clusters ...`

use std::ffi::OsString;
use std::path::PathBuf;

use keystead_runtime::Failure;

use crate::output::say;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum LocalClustersCommand {
    /// Run one cluster, as a server does that made it: etcd, API servers, and what belongs to them
    ///
    /// It runs until it is stopped by a signal, or by a file `stop` or `delete` in the directory, and goes on when the server ends. It needs no
    /// root, and uses no file outside the directory but programs.
    Run {
        /// The directory of the cluster, with its cluster.json
        directory: PathBuf,
    },
    /// Stop all clusters, and wait until they are stopped; their data stays
    ///
    /// A server starts them again when it is started anew.
    Stop {
        /// The directory that those of all clusters are in
        directory: PathBuf,
    },
    #[command(hide = true)]
    Become(BecomeArgs),
}

/// Become another program, which the kernel ends when the process ends that started this one.
#[derive(Debug, clap::Args)]
pub(crate) struct BecomeArgs {
    /// The process that starts this one
    #[arg(long, value_name = "PID")]
    child_of: u32,
    /// The program
    program: OsString,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(command: LocalClustersCommand) -> Result<(), Failure> {
    match command {
        LocalClustersCommand::Run { directory } => {
            let keystead = std::env::current_exe()
                .map_err(|error| Failure::new(format!("this program does not find itself: {error}")))?;
            keystead_local_cluster::run(&directory, keystead)
        }
        LocalClustersCommand::Stop { directory } => keystead_local_cluster::stop_all(&directory, say),
        LocalClustersCommand::Become(args) => {
            Err(keystead_local_cluster::become_child(args.child_of, &args.program, &args.args))
        }
    }
}
