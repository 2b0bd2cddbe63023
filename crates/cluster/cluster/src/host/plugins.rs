//! The plugins of a host, asked at their sockets.

use futures_util::future::join_all;

use super::{HostError, LocalHost};
use crate::api_server_facts::Facts;
use crate::encryption_configuration::{
    EncryptionConfiguration, Endpoint, KmsVersion, Provider as FileProvider,
};
use crate::kms_socket::{KmsSocket, Wrapped};
use crate::provider_order::{KmsPlugin, of_entry};
use crate::rollout::Provider;

/// Where the plugin of a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PluginAt {
    pub(super) provider: Provider,
    pub(super) socket: String,
}

/// Those of the file, and of `more` those that the file does not have: where the API server looks is what counts.
pub(super) fn known(file: Option<&EncryptionConfiguration>, more: &[KmsPlugin]) -> Vec<PluginAt> {
    let mut plugins: Vec<PluginAt> = Vec::new();
    let mut add = |plugin: PluginAt| {
        if !plugins.iter().any(|it| it.provider == plugin.provider) {
            plugins.push(plugin);
        }
    };
    for provider in file.iter().flat_map(|it| it.entries()).flat_map(|it| &it.providers) {
        if let FileProvider::Kms(kms) = &provider.provider {
            add(PluginAt { provider: of_entry(kms), socket: kms.endpoint.socket().to_owned() });
        }
    }
    for plugin in more {
        // An endpoint that is none leads nowhere; whoever named it was told.
        let socket =
            plugin.endpoint.parse().map_or_else(|_| String::new(), |it: Endpoint| it.socket().to_owned());
        add(PluginAt { provider: plugin.provider.clone(), socket });
    }
    plugins
}

/// Asks each, all at once, as the API server of this manifest would.
pub(super) async fn probe(plugins: &[PluginAt], facts: &Facts) -> Vec<Result<Wrapped, String>> {
    let minor = facts.version.map(|(_, minor, _)| minor);
    let ask = async |plugin: &PluginAt| plugin.open().probe(minor).await.map_err(|it| it.to_string());
    join_all(plugins.iter().map(ask)).await
}

impl PluginAt {
    pub(super) fn open(&self) -> KmsSocket {
        let version = match self.provider {
            Provider::KmsV1 { .. } => KmsVersion::V1,
            _ => KmsVersion::V2,
        };
        KmsSocket::new(&self.socket, version)
    }
}

impl LocalHost {
    pub(super) async fn unwrap(
        &self,
        provider: &Provider,
        plugins: &[KmsPlugin],
        wrapped: &[Wrapped],
    ) -> Result<Vec<Option<String>>, HostError> {
        let file = self.files()?.configuration();
        let plugins = known(file.as_ref().ok().and_then(Option::as_ref).map(|it| &it.text), plugins);
        let plugin = plugins.iter().find(|it| it.provider == *provider);
        let socket = plugin.ok_or_else(|| HostError::NoPlugin(provider.clone()))?.open();
        let mut problems = Vec::with_capacity(wrapped.len());
        for wrapped in wrapped {
            problems.push(socket.unwrap(wrapped).await.err().map(|problem| problem.to_string()));
        }
        Ok(problems)
    }
}
