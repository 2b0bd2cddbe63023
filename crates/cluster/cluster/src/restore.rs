//! A backup of etcd on the day the cluster is gone: what it takes to read it, and what is in it.
//!
//! What is opened is in memory that wipes itself, one value at a time, and in no error or debug text. A snapshot is the word of whoever
//! could write to etcd or to the file: names are bounded, and a value that does not belong to its key is told as tampered with.
//!
//! Read `opener.rs` first; `decrypt.rs` opens objects with it, `plan.rs` asks what reads a snapshot.

mod configuration;
mod decrypt;
mod object;
mod opener;
mod plan;
mod plugins;
mod protobuf;
mod versions;

pub use configuration::configuration;
pub use decrypt::{DecryptError, Decrypted, Failed, Selection, decrypt};
pub use object::ObjectLine;
pub use opener::{Opener, Unopened};
pub use plan::{Need, Proof, RestorePlan, plan};
pub use plugins::Plugins;
pub use versions::{NeededVersions, needed_versions};
