//! What somebody on the host has to say yes to.

use std::path::{Path, PathBuf};

use keystead_model::ClusterOperationId;
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers};

use super::ConfigurationArgs;
use crate::output::say;

/// Let the agent of this host carry out one operation, where its configuration says `requireApproval: true`
///
/// `keystead agent status` shows which one waits, and where it goes.
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveArgs {
    /// The operation
    #[arg(value_name = "OPERATION")]
    operation: ClusterOperationId,
    #[command(flatten)]
    configuration: ConfigurationArgs,
}

fn file(state: &Path) -> PathBuf {
    state.join("approved")
}

/// Whether this operation is the one that was approved last.
pub(super) fn is_approved(state: &Path, operation: &ClusterOperationId) -> bool {
    std::fs::read_to_string(file(state)).is_ok_and(|text| text.trim() == operation.as_str())
}

pub(super) fn approve(args: &ApproveArgs) -> Result<(), Failure> {
    let state = args.configuration.read()?.state;
    let path = file(&state);
    whole_file::replace(&path, args.operation.as_str().as_bytes(), Readers::Owner).map_err(|error| {
        Failure::new(format!("cannot write {}: {error}", path.display())).hint("run it as root".to_owned())
    })?;
    say(&format!("{} is approved on this host", args.operation));
    Ok(())
}
