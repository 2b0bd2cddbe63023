//! `keystead cluster inventory`

use keystead_etcd::{ReadError, inventory};
use keystead_runtime::Failure;

use super::counts_report::CountsReport;
use super::etcd_args::{EtcdArgs, LayoutArgs, holds};
use crate::report_format::ReportFormat;

/// Count what the cluster's etcd stores, by resource, provider and key
///
/// Reads every value under the prefix of kube-apiserver and needs no key for that: each says how it is encrypted. What cannot
/// be seen without the key is whether a value is the right one: a value that was copied to another key looks like any other.
///
/// Nothing is written. It reads through a member of etcd page by page, at one revision unless etcd compacts meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct InventoryArgs {
    #[command(flatten)]
    etcd: EtcdArgs,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
}

pub(super) fn run(args: &InventoryArgs) -> Result<(), Failure> {
    let layout = args.layout.layout()?;
    let prefixes = layout.prefixes(&args.layout.resources());
    let runtime = crate::runtime()?;
    let failed = |error: ReadError| Failure::from_error(&error).exit(error.class().exit());
    let (etcd, counts) = runtime.block_on(async {
        let etcd = args.etcd.connect().await?;
        let counted = inventory(&mut etcd.scan_all(&prefixes), &layout).await;
        let counts = counted.map_err(failed)?;
        Ok::<_, Failure>((etcd, counts))
    })?;
    let counted = || counts.groups.iter().map(|it| &it.resource);
    // Who may read no more than what was asked for is told of that: the count stands.
    let there =
        || Ok(runtime.block_on(etcd.resources(&layout)).unwrap_or_else(|_| counted().cloned().collect()));
    args.layout.tell_missing(|path| holds(counted(), path), there)?;
    args.format.print(&CountsReport::of_etcd(etcd.endpoint(), prefixes, counts))
}
