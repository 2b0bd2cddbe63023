//! The planner against a simulated fleet; re-encryption against a real kube-apiserver and, for answers that no real one gives on
//! demand, against one that is played; files of real clusters, what real API servers say to them, and what edits leave of them.
#![cfg(test)]

mod answers;
mod cases;
mod credentials;
mod damaged;
mod edits;
mod evidence;
mod fake;
mod hosts;
mod inputs;
mod interference;
mod kubeadm;
mod left_out;
mod live;
mod manifests;
mod migrations;
mod orders;
mod outages;
mod over_cluster;
mod plans;
mod platforms;
mod properties;
mod refusals;
mod resume;
mod rewriting;
mod rollout;
mod room;
mod scene;
mod units;
mod verdicts;
