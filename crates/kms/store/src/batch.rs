use crate::Revision;

/// Writes that happen together or not at all. No two name the same record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In any order.
    pub writes: Vec<Write>,
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The record.
    pub name: String,
    /// What must hold for the whole batch to be written.
    pub expect: Expect,
    /// The new bytes; none deletes.
    pub value: Option<Vec<u8>>,
}

/// The state of a record before a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no such record.
    Absent,
    /// It was last written by this commit.
    At(Revision),
    /// Whatever it is.
    Any,
}

impl Batch {
    /// Adds a record that must not exist yet.
    #[must_use]
    pub fn create(self, name: impl Into<String>, value: Vec<u8>) -> Self {
        self.with(name.into(), Expect::Absent, Some(value))
    }

    /// Replaces a record that must be as it was read.
    #[must_use]
    pub fn replace(self, name: impl Into<String>, read_at: Revision, value: Vec<u8>) -> Self {
        self.with(name.into(), Expect::At(read_at), Some(value))
    }

    /// Writes a record, whatever was there.
    #[must_use]
    pub fn put(self, name: impl Into<String>, value: Vec<u8>) -> Self {
        self.with(name.into(), Expect::Any, Some(value))
    }

    /// Deletes a record that must be as it was read.
    #[must_use]
    pub fn delete(self, name: impl Into<String>, read_at: Revision) -> Self {
        self.with(name.into(), Expect::At(read_at), None)
    }

    fn with(mut self, name: String, expect: Expect, value: Option<Vec<u8>>) -> Self {
        self.writes.push(Write { name, expect, value });
        self
    }
}
