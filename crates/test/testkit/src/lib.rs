//! Starts real things for tests and for `quickstart`: a Kubernetes control plane and a client of it, a key management
//! service, and a client of KMS plugins.
//!
//! What it starts ends with the process that started it, whatever happens to that process. It never stands in for
//! anything: no mocks here. Read [`control_plane`] first, then [`api`].

pub mod api;
pub mod control_plane;
pub mod kms_client;
pub mod kms_server;
pub mod node;
pub mod process;
mod ready;
pub mod systemd_host;
