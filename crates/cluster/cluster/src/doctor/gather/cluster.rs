//! API servers at their own addresses.

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use keystead_model::ErrorChain;

use super::{limit, with_manifest};
use crate::api::{ApiServer, Kubeconfig};
use crate::doctor::facts::{ApiServerFacts, Seen};
use crate::executor::Record;
use crate::host::Report;

/// API servers that are asked; who can write Endpoints decides how many there are.
const OTHERS_MAX: usize = 32;

/// Longest wait for one API server, and for a program that the kubeconfig names.
const ASK: Duration = Duration::from_secs(45);

/// As the kubeconfig leads there.
pub(super) async fn connect(kubeconfig: &Kubeconfig) -> Seen<ApiServer> {
    files(kubeconfig)?;
    let given = kubeconfig.clone();
    limit::apart("connecting as the kubeconfig says", ASK, || async move {
        ApiServer::connect(&given).await.map_err(|error| ErrorChain(&error).to_string())
    })
    .await
}

/// Nobody opens a FIFO or a device without waiting for it.
fn files(kubeconfig: &Kubeconfig) -> Seen<()> {
    for path in kubeconfig.paths() {
        if fs::metadata(path).is_ok_and(|it| !it.is_file()) {
            return Err(format!("the kubeconfig {path} is no regular file, and was not opened"));
        }
    }
    Ok(())
}

/// The API server of this host.
pub(super) async fn own(kubeconfig: &Kubeconfig, report: &Seen<Report>) -> Seen<ApiServerFacts> {
    ask(kubeconfig, &with_manifest(report)?.address).await
}

/// Those that publish themselves, and those that the record knows.
pub(super) async fn others(
    kubeconfig: &Kubeconfig,
    connected: &Seen<ApiServer>,
    record: Option<&Record>,
    report: &Seen<Report>,
) -> Seen<Vec<ApiServerFacts>> {
    let published = connected.as_ref().map_err(Clone::clone)?.published().await;
    let mut addresses = published.map_err(|error| ErrorChain(&error).to_string())?;
    if let Some(record) = record {
        let known = record.servers.iter().filter(|(name, _)| !record.removed.contains(*name));
        addresses.extend(known.map(|(_, it)| it.address.clone()));
    }
    addresses.sort();
    addresses.dedup();
    let own = report.as_ref().map(|it| it.address.as_str()).unwrap_or_default();
    addresses.retain(|it| it != own && !it.is_empty());
    // All at once: some may be away.
    let others = join_all(addresses.iter().take(OTHERS_MAX).map(|it| ask(kubeconfig, it))).await;
    others.into_iter().collect()
}

async fn ask(kubeconfig: &Kubeconfig, address: &str) -> Seen<ApiServerFacts> {
    files(kubeconfig)?;
    let (kubeconfig, url) = (kubeconfig.clone(), address.to_owned());
    limit::apart(address, ASK, || async move {
        let server = ApiServer::at(&kubeconfig, &url).await;
        let server = server.map_err(|error| ErrorChain(&error).to_string())?;
        let (facts, clock_ahead) = tokio::join!(server.facts(), server.clock_ahead());
        Ok(ApiServerFacts::of(url, facts, clock_ahead))
    })
    .await
}
