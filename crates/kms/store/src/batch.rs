use std::collections::HashSet;

use keystead_model::ErrorClass;

use crate::{MAX_NAME_LEN, MAX_VALUE_LEN, Revision, StoreError};

/// Writes that happen together or not at all. No two name the same record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In any order; at least one.
    pub writes: Vec<Write>,
    /// The bytes that this batch deletes or replaces will soon be in none of the store's files any more. Costs much more than a
    /// commit; for key material whose time is over. See [`Store::is_erasing`](crate::Store::is_erasing).
    pub erase: bool,
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

    /// Has the old bytes gone from every file, soon after the answer.
    #[must_use]
    pub fn erasing(self) -> Self {
        Self { erase: true, ..self }
    }

    /// Refuses what no store takes; every implementation asks first.
    pub fn check(&self) -> Result<(), StoreError> {
        let invalid = |text: String| Err(StoreError::new(ErrorClass::Invalid, text));
        if self.writes.is_empty() {
            return invalid("a batch without writes".to_owned());
        }
        let mut names = HashSet::with_capacity(self.writes.len());
        for write in &self.writes {
            let Write { name, value, .. } = write;
            if name.is_empty() || name.len() > MAX_NAME_LEN {
                return invalid(format!("a record's name has 1 to {MAX_NAME_LEN} bytes, not {}", name.len()));
            }
            if value.as_ref().is_some_and(|value| value.len() > MAX_VALUE_LEN) {
                return invalid(format!("the value of {name} is longer than {MAX_VALUE_LEN} bytes"));
            }
            if !names.insert(name.as_str()) {
                return invalid(format!("a batch names {name} twice"));
            }
        }
        Ok(())
    }

    fn with(mut self, name: String, expect: Expect, value: Option<Vec<u8>>) -> Self {
        self.writes.push(Write { name, expect, value });
        self
    }
}
