use std::pin::Pin;

use crate::{Batch, StoreError};

/// Longest name of a record, in bytes: the longest resource name is 268, and a record's kind stands before it.
pub const MAX_NAME_LEN: usize = 1024;
/// Longest value, in bytes: a policy with 1,500 bindings of long members is about 300 KiB; etcd takes 1.5 MiB by default.
pub const MAX_VALUE_LEN: usize = 1024 * 1024;

/// A call under way. Boxed, so that the trait can be used as an object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The number of a commit: grows by one with each, and is never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The commit that wrote it.
    pub revision: Revision,
    /// Its bytes. Whatever is secret in them is sealed.
    pub value: Vec<u8>,
}

/// What was written since some commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The newest commit that this answer knows.
    pub up_to: Revision,
    /// Names that were written or deleted after the commit asked for, each once, in no order. `None`: the store no longer
    /// knows; whoever cached something drops all of it.
    pub names: Option<Vec<String>>,
}

/// Keeps records. Every answer is at least as new as the last commit that was confirmed to this process.
pub trait Store: Send + Sync {
    /// One record; none when there is none.
    fn get<'a>(&'a self, name: &'a str) -> Pending<'a, Option<Entry>>;

    /// Records whose names start with `prefix` and are greater than `after` (bytewise; `""` for the first page), in order
    /// of their names, at most `limit`. One answer is one consistent view.
    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> Pending<'a, Vec<Entry>>;

    /// How many records have names that start with `prefix`.
    fn count<'a>(&'a self, prefix: &'a str) -> Pending<'a, u64>;

    /// Writes all of a batch or nothing. The answer comes after it is durable. When one write's expectation does not hold,
    /// nothing is written and the error's class is `Aborted` (a name that should be absent: `AlreadyExists`).
    ///
    /// `Invalid`: nothing was written. A failure of any other class leaves open whether it was written; reading again tells.
    /// Dropping the call does not undo it.
    ///
    /// With [`Batch::erase`] the old bytes go after the answer, see [`Store::is_erasing`].
    fn commit(&self, batch: Batch) -> Pending<'_, Revision>;

    /// What was written after `since`, for whoever caches records.
    fn changes(&self, since: Revision) -> Pending<'_, Changes>;

    /// Whether commits are written, and why not: `FailedPrecondition` when the store's files were removed or replaced. Answers at once while the last commit was written. After one that failed it tries
    /// a small write of its own that changes no record, so that the answer is about now, and not about who called last.
    fn writable(&self) -> Pending<'_, ()>;

    /// Whether bytes that a batch with [`Batch::erase`] deleted or replaced may still be in a file, because that batch was a
    /// moment ago or because somebody reads them. The store goes on trying by itself, also after a restart.
    fn is_erasing(&self) -> bool;
}
