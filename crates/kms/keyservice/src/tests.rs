//! Use cases together, on the testbed.

mod destruction;
mod histories;
mod keys;
mod lists;
mod memory;
mod policies;
mod rotation;
mod state_machine;
