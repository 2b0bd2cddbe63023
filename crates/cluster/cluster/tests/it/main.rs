//! The planner against a simulated fleet, and re-encryption against a real kube-apiserver.

mod plans;
#[cfg(test)]
mod rewriting;
mod rollout;
#[cfg(test)]
mod scene;
