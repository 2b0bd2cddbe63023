//! Reads bbolt files, the format of etcd's database, page by page and in bounded memory.
//!
//! Ours, because no well-kept Rust library reads this format, and because a backup is the word of whoever could write to it:
//! the Go library maps the file into memory and trusts it. Here every length is checked before it is used, every page is
//! visited at most once in a walk, and the largest thing in memory is one value. Pages that no bucket reaches (free pages)
//! are not looked at.
//!
//! The format is that of `go.etcd.io/bbolt`, `internal/common`: little-endian, version 2. A file is an array of pages. Pages
//! 0 and 1 are meta pages, of which the valid one with the higher transaction counts; it names the root page of a tree of
//! branch and leaf pages. That tree holds buckets by name, each with a root page of its own or, if it is small, its only
//! page inside its entry.

mod error;
mod fields;
mod meta;
mod node;
mod source;
mod walk;

pub use error::{DatabaseError, PageProblem};
use meta::Meta;
pub(crate) use node::{Bytes, Node};
pub(crate) use source::Source;
pub(crate) use walk::Walk;

/// An open file.
pub(crate) struct Database {
    source: Box<dyn Source>,
    meta: Meta,
}

/// Where the tree of one bucket begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// A page of its own.
    Page(u64),
    /// These bytes of the file: inside the entry of a page.
    Inline { page: u64, offset: u64, length: u64 },
}

impl Database {
    /// Reads the meta pages.
    ///
    /// # Errors
    ///
    /// For a file of another format or version, and for one that is shorter than it says.
    pub(crate) fn open(source: Box<dyn Source>) -> Result<Self, DatabaseError> {
        let meta = Meta::read(&*source)?;
        Ok(Self { source, meta })
    }

    /// Bytes that belong to the database; what follows in the file does not.
    pub(crate) fn size(&self) -> u64 {
        self.meta.size()
    }

    pub(crate) fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// The roots of the buckets with these names, in their order.
    ///
    /// # Errors
    ///
    /// Where the tree of buckets is damaged.
    pub(crate) fn buckets<const N: usize>(
        &self,
        names: [&[u8]; N],
    ) -> Result<[Option<Root>; N], DatabaseError> {
        let mut found = [None; N];
        let mut walk = Walk::new(self, Root::Page(self.meta.root));
        let mut leaf = Node::new();
        while walk.next_leaf(&mut leaf)? {
            for index in 0..leaf.count() {
                let entry = leaf.entry(index)?;
                let key = leaf.bytes(&*self.source, &entry.key, KEY_MAX)?;
                let Some(slot) = names.iter().position(|name| *name == key.as_slice()) else { continue };
                let root = leaf.bucket(&*self.source, index)?;
                if let Some(slot) = found.get_mut(slot) {
                    *slot = Some(root);
                }
            }
        }
        Ok(found)
    }

    /// Whether nobody has written to the file since it was opened. As long as that is so, all that the meta page reaches is
    /// of one moment: bbolt writes new pages first and then the meta page, and uses no page again that the last one reached.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub(crate) fn is_unchanged(&self) -> Result<bool, DatabaseError> {
        Ok(Meta::read(&*self.source)? == self.meta)
    }
}

/// bbolt's own limit (`MaxKeySize`).
const KEY_MAX: u64 = 32768;
