//! The audit log from outside.
#![cfg(test)]

mod appending;
mod crash;
mod exports;
mod heads;
mod lost_segment;
mod metrics;
mod opening;
mod reading;
mod record;
mod refusals;
mod retention;
mod scene;
mod space;
mod tampering;
