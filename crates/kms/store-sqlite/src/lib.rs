//! Records in one SQLite database: the [`Store`](keystead_store::Store) for when one machine is enough.
//!
//! It must never confirm what is not on the disk, answer with bytes that were not written, or leave erased bytes in a file.
//! All writes go through one thread, which puts several batches into one transaction and so into one sync. Read
//! [`SqliteStore`] first, then `writer.rs`.

mod backup;
mod checks;
mod connection;
mod erase;
mod fault;
mod files;
mod folder;
mod page;
mod place;
mod queue;
mod reader;
mod record;
mod residue;
mod settings;
mod store;
mod writer;

pub use backup::verify_backup;
pub use settings::SqliteSettings;
pub use store::SqliteStore;
