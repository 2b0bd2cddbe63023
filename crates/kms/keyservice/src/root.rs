//! The directory `root/`: what a copy of the database must not be enough to open or to pass for the newest. It holds the
//! root key where that is a file, the witness, and the key that signs heads of the audit log. It is no part of
//! a backup and may be on another volume.

mod directory;
mod history;
mod point;
pub(crate) mod private_file;
mod slot;
mod witness;

pub use directory::{RootDirectory, RootError};
pub(crate) use history::{Known, VersionEvent, VersionEventKind, VersionId};
pub(crate) use point::Point;
pub(crate) use witness::Witness;
