//! The planner: examples, and a simulated fleet.

mod plans;
mod rollout;
