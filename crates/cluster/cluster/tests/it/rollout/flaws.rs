//! Planner bugs, each as what the planner then believes or says. The planner itself has no switch.

use keystead_cluster::rollout::{Goal, Observed, Plan, plan};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {}

impl Flaw {
    pub(crate) fn planned(self, goal: &Goal, observed: &Observed) -> Plan {
        plan(goal, observed)
    }
}
