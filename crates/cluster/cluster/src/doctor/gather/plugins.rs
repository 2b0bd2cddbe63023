//! The plugins of the EncryptionConfiguration, at their sockets.

use std::path::Path;

use futures_util::future::join_all;

use super::host::Host;
use super::{permissions, with_manifest};
use crate::doctor::facts::{PluginFacts, Seen, Unopened};
use crate::encryption_configuration::KmsVersion;
use crate::host::Report;
use crate::kms_socket::{KmsSocket, Wrapped};
use crate::rollout::Provider;

/// With wrapped seeds of what is stored.
pub(super) async fn look(
    host: &Host,
    report: &Seen<Report>,
    seeds: &[(Provider, Wrapped)],
) -> Seen<Vec<PluginFacts>> {
    let file = host.configuration.as_ref().map_err(Clone::clone)?;
    let (report, text) = (with_manifest(report)?, host.text.as_ref());
    let mut plugins = Vec::new();
    for entry in file.iter().flat_map(|it| &it.kms) {
        let asked = report.plugins.iter().find(|it| it.provider == entry.provider);
        let key_id = match asked.map(|it| &it.probe) {
            Some(Ok(wrapped)) => Ok(wrapped.key_id.clone()),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("it was not asked".to_owned()),
        };
        let is_asked = key_id.is_ok() && matches!(entry.provider, Provider::KmsV2 { .. });
        let socket = KmsSocket::new(&entry.socket, KmsVersion::V2);
        let own = seeds.iter().filter(|(provider, _)| is_asked && *provider == entry.provider);
        // All at once: one call may take some seconds.
        let unopened = join_all(own.map(async |(_, seed)| {
            let problem = socket.unwrap(seed).await.err()?;
            Some(Unopened { key_id: seed.key_id.clone(), reason: problem.to_string() })
        }))
        .await;
        let directory = Path::new(&entry.socket).parent().unwrap_or(Path::new("/")).display().to_string();
        plugins.push(PluginFacts {
            provider: entry.provider.clone(),
            socket: entry.socket.clone(),
            key_id,
            is_mounted: entry.socket.starts_with('@')
                || text
                    .and_then(|it| it.host_path(&directory))
                    .is_some_and(|it| it.trim_end_matches('/') == directory),
            path: permissions::of_socket(&entry.socket),
            way: asked.map(|it| it.way.clone()).unwrap_or_default(),
            unopened: unopened.into_iter().flatten().collect(),
        });
    }
    Ok(plugins)
}
