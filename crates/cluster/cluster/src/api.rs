//! One kube-apiserver, as a kubeconfig leads to it.

mod clock;
mod connection;
mod discovery;
mod error;
mod lease;
mod metrics;
mod platform_facts;
mod published;
mod request;
mod server_facts;

pub use connection::{ApiServer, ConnectError, Kubeconfig};
pub use discovery::{DiscoveryError, LeftOut, Resource, Resources};
pub(crate) use discovery::{discover, resources};
pub use error::{CallError, Refusal};
pub(crate) use lease::{Lease, delete_lease, get_lease, put_lease};
pub use published::ControlPlaneNode;
pub(crate) use request::{Call, METADATA, METADATA_LIST};
pub use server_facts::ServerFacts;

/// The base URL of an API server.
pub(crate) fn url(host: &str, port: u16) -> String {
    if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") }
}

/// Whether such a URL has this address, which is without a port.
pub(crate) fn is_at(url: &str, address: &str) -> bool {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    rest.rsplit_once(':').is_some_and(|(host, _)| host.trim_matches(['[', ']']) == address)
}
