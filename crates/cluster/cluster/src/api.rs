//! One kube-apiserver, as a kubeconfig leads to it.

mod connection;
mod discovery;
mod error;
mod metrics;
mod request;
mod server_facts;

pub use connection::{ApiServer, ConnectError, Kubeconfig};
pub(crate) use discovery::discover;
pub use discovery::{DiscoveryError, LeftOut, Resource, Resources};
pub use error::{CallError, Refusal};
pub(crate) use request::{Call, METADATA, METADATA_LIST};
pub use server_facts::ServerFacts;
