//! `keystead-plugin`: Kubernetes KMS v1 and v2 on one UNIX socket, with a KEK that lives in a provider.
//!
//! It must never call out while kube-apiserver waits for Status or Encrypt, never answer from anything but one snapshot,
//! never give wrong bytes, and never log a secret. Read `app.rs` first, which puts everything together; then follow one
//! Encrypt: `transport`, `grpc/v2.rs`, `kms.rs`, `snapshot.rs`.

mod admin;
mod app;
mod grpc;
pub mod key_commands;
mod key_history;
mod kms;
mod metrics;
mod prober;
mod providers;
mod run;
mod settings;
mod snapshot;
#[cfg(test)]
mod testbed;
pub mod transport;
mod unwrap_cache;

pub use app::{App, Running};
pub use run::{RunArgs, run};
pub use settings::{PartialSettings, ProviderKind, ProviderSettings, Settings, StatusVersion, schema};
