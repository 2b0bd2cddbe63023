//! One API server with so many Secrets, and all that is measured on it.

use std::time::Duration;

use anyhow::Result;

use crate::report::{Report, Row};
use crate::stage::{CONCURRENCY, Stage};
use crate::{in_tree, kubectl};

/// For what takes longer; what was rewritten until then is counted in etcd.
const LIMIT: Duration = Duration::from_secs(120);

/// Bare patches and ours take turns for so many rounds; the `others` come once, after them.
pub(crate) async fn measure(secrets: usize, rounds: usize, others: bool) -> Result<Report> {
    let mut stage = Stage::start(secrets).await?;
    let (mut bare, mut pass, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let mut most = 0;
    for _ in 0..rounds {
        stage.make_all_stale().await?;
        bare.push(stage.bare().await?);
        stage.make_all_stale().await?;
        let ours = stage.ours().await?;
        pass.push(ours.pass);
        whole.push(ours.whole);
        most = most.max(ours.at_once);
    }
    let mut report = Report::new(secrets, rounds, Row::median("bare empty patches", secrets, bare));
    report.bare.what.push_str(&format!(", {CONCURRENCY} at once, names known"));
    report.rows.push(Row::median(
        &format!("`cluster reencrypt`, its first pass, at most {most} at once"),
        secrets,
        pass,
    ));
    report.rows.push(Row::median("`cluster reencrypt`, with the pass that finds zero", secrets, whole));
    if others {
        // The figures of ours are not lost with those of others.
        stage.make_all_stale().await?;
        if let Err(error) = in_tree::measure(&stage, LIMIT, &mut report).await {
            report.notes.push(format!("The in-tree migration was not measured: {error:#}."));
        }
        stage.make_all_stale().await?;
        if let Err(error) = kubectl::measure(&stage, LIMIT, &mut report).await {
            report.notes.push(format!("kubectl was not measured: {error:#}."));
        }
    }
    Ok(report)
}
