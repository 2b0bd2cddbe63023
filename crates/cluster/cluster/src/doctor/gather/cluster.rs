//! API servers at their own addresses, and kubeadm's configuration.

use futures_util::future::join_all;
use keystead_model::ErrorChain;

use super::with_manifest;
use crate::api::{ApiServer, Kubeconfig};
use crate::doctor::facts::{ApiServerFacts, Seen};
use crate::executor::{Record, kubeadm_patch};
use crate::host::Report;

/// API servers that are asked; who can write Endpoints decides how many there are.
const OTHERS_MAX: usize = 32;

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

/// Lines that it lacks. Without the flag nothing is lacking.
pub(super) async fn kubeadm(report: &Seen<Report>, connected: &Seen<ApiServer>) -> Seen<Vec<String>> {
    let report = with_manifest(report)?;
    let server = connected.as_ref().map_err(Clone::clone)?;
    if !report.has_flag {
        return Ok(Vec::new());
    }
    let settings = report.settings.as_ref().map_err(Clone::clone)?;
    let patch = kubeadm_patch(server, settings, true).await;
    let patch = patch.map_err(|error| ErrorChain(&error).to_string())?;
    Ok(patch.map(|it| it.lines()).unwrap_or_default())
}

async fn ask(kubeconfig: &Kubeconfig, address: &str) -> Seen<ApiServerFacts> {
    let server = ApiServer::at(kubeconfig, address).await;
    let server = server.map_err(|error| ErrorChain(&error).to_string())?;
    let (facts, clock_ahead) = tokio::join!(server.facts(), server.clock_ahead());
    Ok(ApiServerFacts::of(address.to_owned(), facts, clock_ahead))
}
