//! The conformance suite for Kubernetes KMS plugins of any make, and a load generator for them.
//!
//! The suite is a black box: it knows a plugin's UNIX socket, the wire format of KMS v1 and v2, and nothing else. It
//! judges only what a cluster would notice, and every finding says what that is. It must never trust a plugin: an answer may
//! be late, false, huge or garbage, and each call has a deadline. Rules come from kube-apiserver's own source
//! (`kmsv2/envelope.go`, `encryptionconfig/config.go`) and from KEP-3299.
//!
//! Read `run.rs` first, then any file under `checks/`.

pub mod bench;
mod check;
mod checks;
mod hook;
mod options;
mod plugin;
mod raw;
mod report;
mod run;

pub use check::{Check, UnknownCheck, checks, select};
pub use options::{Hooks, Kms, Options, OptionsError, Socket};
pub use report::{Finding, Report, Summary, Verdict};
pub use run::{Progress, run};
