//! The provider `local`: a key file that holds several versions of a KEK, one of them primary.
//!
//! It must never lose a version, use a number twice, or read a file that others can read. Read [`KeyFile`] first, then
//! [`LocalProvider`], which serves what the file says now; [`store`] and [`edit`] are what `key create` and its siblings
//! call.

mod disk;
mod key_file;
mod provider;
mod sealed;

pub use disk::{DiskError, create, edit, load, store};
pub use key_file::{EditError, KeyFile, KeyFileError, VersionInfo};
pub use keystead_runtime::whole_file::FileError;
pub use provider::LocalProvider;
pub use sealed::{Identity, Recipient, SealedError, open_sealed, seal_to};

/// The kind in key ids and logs.
pub const KIND: &str = "local";
