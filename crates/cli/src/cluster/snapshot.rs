//! `keystead cluster snapshot ...`

use std::path::PathBuf;

use keystead_etcd::{HashCheck, Snapshot, SnapshotError, snapshot_inventory};
use keystead_model::Exit;
use keystead_runtime::Failure;

use super::counts_report::CountsReport;
use super::etcd_args::LayoutArgs;
use crate::report_format::ReportFormat;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum SnapshotCommand {
    Inventory(SnapshotInventoryArgs),
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
    }
}

fn inventory(args: &SnapshotInventoryArgs) -> Result<(), Failure> {
    let file = args.file.display().to_string();
    let failure = |error: SnapshotError| {
        let failure = Failure::new(format!("cannot read {file}")).caused_by(error.to_string());
        failure.because(&error).exit(error.class().exit())
    };
    let layout = args.layout.layout()?;
    let resources = args.layout.resources();
    let counts = Snapshot::open(&args.file)
        .and_then(|snapshot| snapshot_inventory(&snapshot, &layout, resources))
        .map_err(failure)?;
    let hash = counts.history.hash;
    args.format.print(&CountsReport::of_snapshot(file.clone(), layout.prefixes(resources), counts))?;
    match hash {
        HashCheck::Matches | HashCheck::Absent => Ok(()),
        HashCheck::Differs => {
            Err(Failure::new(format!("{file} is not what was saved: the hash at its end is another"))
                .hint(
                    "the counts are those of the file as it is; fetch it again from where it was saved"
                        .to_owned(),
                )
                .exit(Exit::Problem))
        }
    }
}
