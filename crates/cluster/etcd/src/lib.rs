//! A read-only view of a cluster's etcd, running or as a snapshot file: what kube-apiserver stored, under which key, and, with the seed that the
//! plugin's Decrypt gave, what is inside.
//!
//! It never writes to etcd (only tests can, behind `test-util`), never calls a plugin, never prints plaintext, and
//! trusts nothing it reads: a stored value is the word of whoever can write to etcd, so a bad one is an error with
//! its reason and never a panic or wrong bytes. The rules of the stored format are kube-apiserver's own
//! (`k8s.io/apiserver`, `pkg/storage/value/encrypt`). Read `stored.rs` first.

mod bbolt;
mod connection;
mod inventory;
mod resources;
mod scan;
mod snapshot;
mod snapshot_inventory;
pub mod stored;

pub use bbolt::{DatabaseError, PageProblem};
pub use connection::{
    Alarm, ClientFiles, ConnectError, Connection, Entry, Etcd, Login, NoAnswer, ReadError, Space, TlsFiles,
};
pub use inventory::{Encryption, Group, Layout, MalformedObject, StoredCounts, Tally, inventory};
pub use resources::snapshot_resources;
pub use scan::{Page, Scanner};
pub use snapshot::{
    Age, EntryProblem, HashCheck, NotASnapshot, Snapshot, SnapshotError, SnapshotRevisions, StoredRevision,
};
pub use snapshot_inventory::{History, SnapshotCounts, snapshot_inventory};
