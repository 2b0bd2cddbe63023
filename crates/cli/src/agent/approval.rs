//! What somebody on the host has to say yes to: an operation and where it goes. A server that says something else under the same name
//! has to be approved again.

use std::path::{Path, PathBuf};

use keystead_model::ClusterOperationId;
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers};

use super::ConfigurationArgs;
use crate::output::say;

/// Let the agent of this host carry out one operation, where its configuration says `requireApproval: true`
///
/// It says what that is. `keystead agent status` shows which one waits.
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveArgs {
    /// The operation
    #[arg(value_name = "OPERATION")]
    operation: ClusterOperationId,
    #[command(flatten)]
    configuration: ConfigurationArgs,
}

/// What waits: an operation, and where it goes in words that name the key.
pub(super) struct Asked<'a> {
    pub(super) operation: &'a ClusterOperationId,
    pub(super) goal: &'a str,
}

impl Asked<'_> {
    fn text(&self) -> String {
        format!("{}\n{}\n", self.operation, self.goal)
    }

    /// Whether exactly this was approved. Otherwise it is written down as what waits.
    pub(super) fn is_approved(&self, state: &Path) -> bool {
        if std::fs::read_to_string(approved(state)).is_ok_and(|text| text == self.text()) {
            return true;
        }
        if std::fs::read_to_string(waiting(state)).ok().as_ref() != Some(&self.text())
            && let Err(error) = whole_file::replace(&waiting(state), self.text().as_bytes(), Readers::Owner)
        {
            say(&format!("what waits for approval cannot be kept: {error}"));
        }
        false
    }
}

/// An approval is for once.
pub(super) fn forget(state: &Path) {
    for file in [approved(state), waiting(state)] {
        std::fs::remove_file(file).ok();
    }
}

fn approved(state: &Path) -> PathBuf {
    state.join("approved")
}

fn waiting(state: &Path) -> PathBuf {
    state.join("waits-for-approval")
}

pub(super) fn approve(args: &ApproveArgs) -> Result<(), Failure> {
    let state = args.configuration.read()?.state;
    let text = std::fs::read_to_string(waiting(&state)).unwrap_or_default();
    let goal = text.strip_prefix(&format!("{}\n", args.operation)).map(str::trim_end);
    let goal = goal.ok_or_else(|| {
        Failure::new(format!("{} does not wait for approval on this host", args.operation))
            .hint("`keystead agent status` shows what does".to_owned())
    })?;
    let path = approved(&state);
    whole_file::replace(&path, text.as_bytes(), Readers::Owner).map_err(|error| {
        Failure::new(format!("cannot write {}: {error}", path.display())).hint("run it as root".to_owned())
    })?;
    say(&format!("approved on this host: {}, {goal}", args.operation));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_approved_is_one_operation_to_one_goal() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path();
        let (operation, other) = ("operation-1".parse().expect("one"), "operation-2".parse().expect("one"));
        let asked = |operation, goal| Asked { operation, goal }.is_approved(state);
        assert!(!asked(&operation, "everything under k"));
        std::fs::copy(waiting(state), approved(state)).expect("approved");
        assert!(asked(&operation, "everything under k"));
        assert!(!asked(&operation, "everything plain"));
        assert!(!asked(&other, "everything under k"));
        forget(state);
        assert!(!asked(&operation, "everything under k"));
    }
}
