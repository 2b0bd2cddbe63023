//! Changes of a control plane's encryption: what to do next, and why.
//!
//! Planners are pure: they see facts and name steps, and do nothing. Read `rollout.rs` first.

pub mod rollout;
