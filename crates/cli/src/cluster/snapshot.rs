//! `keystead cluster snapshot ...`

mod decrypt;
mod open_args;
mod plan_restore;
mod register;

use std::path::{Path, PathBuf};

use keystead_cluster::restore::DecryptError;
use keystead_etcd::{HashCheck, Snapshot, SnapshotError, snapshot_inventory, snapshot_resources};
use keystead_model::Exit;
use keystead_runtime::Failure;

use super::counts_report::CountsReport;
use super::etcd_args::{LayoutArgs, holds};
use crate::report_format::ReportFormat;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum SnapshotCommand {
    Inventory(SnapshotInventoryArgs),
    PlanRestore(plan_restore::PlanRestoreArgs),
    Decrypt(decrypt::DecryptArgs),
    Register(Box<register::RegisterArgs>),
    Unregister(Box<register::UnregisterArgs>),
}

/// Count what a snapshot of etcd holds, with the old revisions that no API shows
///
/// FILE is what `etcdctl snapshot save` wrote, or the database of a member (member/snap/db) whose etcd is stopped.
///
/// Old revisions are values that were replaced or whose key was deleted. They stay in the file until etcd compacts them
/// (kube-apiserver asks for that every 5 minutes), so they may hold in plain what is encrypted now. What compaction freed stays
/// in free pages of the file until `etcdctl defrag`; free pages are not looked at. What cannot be seen without the key is
/// whether a value is the right one: a value that was copied to another key looks like any other.
///
/// Exit code 6 if the file is damaged, or is not what was saved by the hash at its end.
#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotInventoryArgs {
    /// The snapshot, or a database of etcd
    file: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
}

pub(super) fn run(command: &SnapshotCommand) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Inventory(args) => inventory(args),
        SnapshotCommand::PlanRestore(args) => plan_restore::run(args),
        SnapshotCommand::Decrypt(args) => decrypt::run(args),
        SnapshotCommand::Register(args) => register::register(args),
        SnapshotCommand::Unregister(args) => register::unregister(args),
    }
}

fn inventory(args: &SnapshotInventoryArgs) -> Result<(), Failure> {
    let layout = args.layout.layout()?;
    let resources = &args.layout.resources();
    let failed = |error| unreadable(&args.file, &error);
    let snapshot = Snapshot::open(&args.file).map_err(failed)?;
    let counts = snapshot_inventory(&snapshot, &layout, resources).map_err(failed)?;
    let groups = || counts.current.groups.iter().chain(&counts.history.old.groups);
    args.layout.tell_missing(
        |path| holds(groups().map(|it| &it.resource), path),
        || snapshot_resources(&snapshot, &layout).map_err(failed),
    )?;
    let hash = counts.history.hash;
    let file = args.file.display().to_string();
    args.format.print(&CountsReport::of_snapshot(file, layout.prefixes(resources), counts))?;
    match hash {
        HashCheck::Matches | HashCheck::Absent => Ok(()),
        HashCheck::Differs => Err(not_what_was_saved(&args.file).hint(
            "the counts are those of the file as it is; fetch it again from where it was saved".to_owned(),
        )),
    }
}

/// A snapshot, and whether it is what was saved.
fn opened(file: &Path) -> Result<(Snapshot, HashCheck), Failure> {
    let snapshot = Snapshot::open(file).map_err(|error| unreadable(file, &error))?;
    let hash = snapshot.check_hash().map_err(|error| unreadable(file, &error))?;
    Ok((snapshot, hash))
}

fn unreadable(file: &Path, error: &SnapshotError) -> Failure {
    let failure = Failure::new(format!("cannot read {}", file.display())).caused_by(error.to_string());
    failure.because(error).exit(error.class().exit())
}

fn not_what_was_saved(file: &Path) -> Failure {
    let text = format!("{} is not what was saved: the hash at its end is another", file.display());
    Failure::new(text).exit(Exit::Problem)
}

/// Why nothing, or nothing more, was opened.
fn not_opened(file: &Path, error: &DecryptError) -> Failure {
    match error {
        DecryptError::Snapshot(error) => unreadable(file, error),
        DecryptError::Plugin(problem) => Failure::new(problem.to_string())
            .hint(
                "is --socket right, and does the plugin run there? `keystead plugin check` asks it"
                    .to_owned(),
            )
            .exit(Exit::Unreachable),
        DecryptError::Write(_) => Failure::from_error(error),
    }
}

fn hash_in_words(hash: HashCheck) -> &'static str {
    match hash {
        HashCheck::Matches => "hash at the end: matches",
        HashCheck::Differs => "hash at the end: DIFFERS, this is not the file that was saved",
        HashCheck::Absent => "hash at the end: none, as in a member's own database",
    }
}
