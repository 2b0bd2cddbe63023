//! Copies of what must not be lost: of the whole database when somebody asks, and of each new key version at once, in every
//! place that the configuration names. None of them holds the root key.

mod create_backup;
mod destinations;
mod keep;
mod recover;

pub use create_backup::{Backup, BackupCopy, BackupStore, CreateBackup, PendingBackup};
pub(crate) use destinations::{Destinations, KeptVersion};
pub(crate) use keep::destroyed;
