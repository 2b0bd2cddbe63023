//! The planner against a simulated fleet; re-encryption against a real kube-apiserver and, for answers that no real one gives on
//! demand, against one that is played; files of real clusters, what real API servers say to them, and what edits leave of them.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod edits;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod inputs;
#[cfg(test)]
mod interference;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod properties;
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
#[cfg(test)]
mod verdicts;
