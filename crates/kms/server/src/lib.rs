//! `keystead-server`: the key service on one TLS port, REST and gRPC.
//!
//! It must never decide who may do what, never let one client keep others from being served, and never write a key or a
//! token into a log. Read `app.rs` first, which puts everything together; then follow a request: `listener.rs`,
//! `front.rs`, `api.rs`, `grpc.rs`. `pki.rs` has the certificates.

mod api;
mod app;
mod backup_folder;
mod blocking_work;
mod check;
mod data_dir;
mod front;
mod grpc;
mod health;
mod listener;
mod local_clusters;
mod methods;
mod metrics;
pub mod pki;
pub mod rest;
mod restore;
mod root_key;
mod run;
mod settings;
mod tls;
mod webhooks;

pub use api::Api;
pub use app::{App, Running};
pub use backup_folder::BackupFolder;
pub use front::Front;
pub use listener::{BodyError, ClientCertificate, ConnectionLimits, Listener, MAX_BODY_LEN, Peer, Serve};
pub use local_clusters::LocalClustersSettings;
pub use methods::{MAX_REQUEST_LEN, Served};
pub use metrics::Metrics;
pub use restore::{RestoreArgs, restore};
pub use run::{RunArgs, run};
pub use settings::{DEFAULT_LISTEN, PartialSettings, Settings, schema};
pub use tls::{CertificateFiles, Tls, TlsError, TlsSettings};
pub use webhooks::WebhookSettings;
