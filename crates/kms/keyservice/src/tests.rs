//! Use cases together, on the testbed.

mod destruction;
mod keys;
mod policies;
mod rotation;
