//! Changes of a control plane's encryption: planners without side effects, and executors that carry a plan out.
//!
//! It must never see the data of a Secret: it asks kube-apiserver for metadata alone. Read `rollout.rs` first, the planner, then
//! `reencrypt.rs`; `api.rs` is how kube-apiserver is reached.

pub mod api;
pub mod reencrypt;
pub mod rollout;
