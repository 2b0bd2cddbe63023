//! Use cases together, on the testbed.

mod destruction;
mod keys;
mod lists;
mod policies;
mod rotation;
