//! The planner against a simulated fleet.

mod rollout;
