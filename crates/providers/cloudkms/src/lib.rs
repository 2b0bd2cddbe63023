//! The provider `cloudkms`: a key in a service that speaks Google Cloud KMS v1, which is our server and Google's own.
//!
//! It must never send a key or a token to whom it has not identified, never believe an answer that it has not checked,
//! never need more than the two permissions to encrypt and decrypt, and never take an expired credential for a revoked
//! key. Read [`CloudKmsProvider`] first, then `access.rs`, which reads the files, `connector.rs`, which connects, and
//! `answer.rs` and `refusal.rs`, which judge what comes back.

mod access;
mod access_error;
mod answer;
mod connector;
mod credentials_file;
mod endpoint;
mod google;
mod provider;
mod refusal;
mod service_account;
mod settings;
mod tls;
mod token;
mod transport;
mod watched;

pub use access::Expiry;
pub use access_error::AccessError;
pub use credentials_file::InvalidJson;
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use keystead_runtime::whole_file::FileError;
pub use provider::CloudKmsProvider;
pub use service_account::InvalidServiceAccount;
pub use settings::{CloudKmsSettings, Credentials};
pub use tls::TlsError;
pub use token::{InvalidToken, Token, TokenId};

/// The kind in key ids and logs.
pub const KIND: &str = "cloudkms";
