//! The contract between us and whatever holds a KEK: [`Provider`], its error, and the guard that bounds every call.
//!
//! It must never know a backend, and never turn a failure into a guess. Read [`Provider`] first; an implementation is a
//! crate of its own named `keystead-provider-*` and runs [`contract`] in one line.

mod error;
mod guard;
mod provider;

#[cfg(feature = "test-util")]
pub mod contract;
#[cfg(feature = "test-util")]
pub mod switchable;

pub use error::ProviderError;
pub use guard::{Guard, GuardSettings};
pub use provider::{Description, Pending, Provider, Wrapped};
