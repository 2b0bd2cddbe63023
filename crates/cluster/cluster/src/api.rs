//! One kube-apiserver, as a kubeconfig leads to it.

mod connection;
mod discovery;
mod error;
mod metrics;
mod published;
mod request;
mod server_facts;

pub use connection::{ApiServer, ConnectError, Kubeconfig};
pub(crate) use discovery::discover;
pub use discovery::{DiscoveryError, LeftOut, Resource, Resources};
pub use error::{CallError, Refusal};
pub(crate) use request::{Call, METADATA, METADATA_LIST};
pub use server_facts::ServerFacts;

/// The base URL of an API server.
pub(crate) fn url(host: &str, port: u16) -> String {
    if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") }
}
