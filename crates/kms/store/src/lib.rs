//! The contract between the key service and whatever keeps its records: [`Store`], and the suite that every
//! implementation runs.
//!
//! A store keeps bytes by name and knows nothing of what they mean. It must never lose what [`Store::commit`] confirmed,
//! and never show half of a batch. There is no interactive transaction, so no lock is held across a remote call. Read
//! [`Store`] first.

mod batch;
#[cfg(feature = "test-util")]
pub mod contract;
mod error;
#[cfg(feature = "test-util")]
pub mod faulty;
#[cfg(feature = "test-util")]
pub mod linearizability;
mod store;

pub use batch::{Batch, Expect, Write};
pub use error::StoreError;
pub use store::{Changes, Entry, MAX_NAME_LEN, MAX_VALUE_LEN, Pending, Revision, Store};
