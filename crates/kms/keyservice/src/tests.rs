//! Use cases together, on the testbed.

mod after_the_commit;
mod callers_that_go_away;
mod cluster_hosts;
mod clusters;
mod credential_uses;
mod destruction;
mod histories;
mod keys;
mod lists;
mod local_clusters;
mod memory;
mod needed_versions;
mod policies;
mod rotation;
mod second_user;
mod state_machine;
