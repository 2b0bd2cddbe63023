//! The planner against a simulated fleet; re-encryption against a real kube-apiserver and, for answers that no real one gives on
//! demand, against one that is played.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod interference;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod rewriting;
#[cfg(test)]
mod rollout;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod scene;
