//! The audit log from outside.
#![cfg(test)]

mod appending;
mod opening;
mod record;
mod scene;
