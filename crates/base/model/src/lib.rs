//! Ids, names, records and error classes that every other crate speaks in. Pure: no I/O, no clock, no randomness, and
//! never a secret. Read [`KeyReference`] first for the plugin (it is what a key id says), [`CryptoKey`] for the server.

pub mod cluster;
pub mod cluster_host;
mod crypto_key;
pub mod destruction;
mod error_chain;
mod error_class;
pub mod field_mask;
mod key_reference;
pub mod key_settings;
pub mod listing;
mod policy;
mod principal;
mod resource_name;
pub mod rotation;
mod unseen_letter;
mod version_state;

pub use cluster::{Cluster, ClusterOperation};
pub use cluster_host::ClusterHost;
pub use crypto_key::{CryptoKey, CryptoKeyVersion, KeyRing, KeyUid, RetiredResource, VersionState};
pub use error_chain::{ErrorChain, causes_of};
pub use error_class::{ErrorClass, Exit};
pub use key_reference::{InvalidKeyReference, InvalidKeyVersion, KeyReference, KeyVersion, Material};
pub use policy::{Binding, Condition, Policy};
pub use principal::{InvalidPrincipal, Principal, is_email};
pub use resource_name::{
    ClusterHostName, ClusterId, ClusterName, ClusterOperationId, ClusterOperationName, CryptoKeyName,
    CryptoKeyVersionName, HostId, InvalidName, KeyRingName, LocationId, LocationName, MAX_ID_LEN, ProjectId,
    ProjectName, ResourceId, VersionNumber,
};
pub use unseen_letter::is_unseen;
pub use version_state::{WrongState, to_microseconds};
