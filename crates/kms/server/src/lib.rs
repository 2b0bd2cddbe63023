//! `keystead-server`: the key service on one TLS port, REST and gRPC.
//!
//! It must never decide who may do what, never let one client keep others from being served, and never write a key or a
//! token into a log. Read `listener.rs` first, then `front.rs`, which every request passes; `pki.rs` has the
//! certificates.

mod front;
pub mod grpc;
mod listener;
mod metrics;
pub mod pki;
pub mod rest;
mod tls;

pub use front::Front;
pub use listener::{BodyError, ClientCertificate, ConnectionLimits, Listener, MAX_BODY_LEN, Peer, Serve};
pub use metrics::{Metrics, Served};
pub use tls::{GivenCertificate, Tls, TlsError, TlsSettings};
