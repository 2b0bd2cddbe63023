use std::cmp::Ordering;
use std::fmt;

use super::{Fields, InvalidListing};

/// How a list is sorted. Items that were made at the same time are sorted by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderBy {
    by: By,
    descending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum By {
    #[default]
    Name,
    CreateTime,
}

impl OrderBy {
    /// Reads `orderBy`; empty is `name`.
    pub fn parse(text: &str) -> Result<Self, InvalidListing> {
        let invalid = || InvalidListing::OrderBy { given: text.chars().take(200).collect() };
        let mut words = text.split_ascii_whitespace();
        let by = match words.next() {
            None | Some("name") => By::Name,
            Some("create_time" | "createTime") => By::CreateTime,
            Some(_) => return Err(invalid()),
        };
        let descending = match words.next() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(invalid()),
        };
        if words.next().is_some() {
            return Err(invalid());
        }
        Ok(Self { by, descending })
    }

    /// A text that sorts an item among the others, and is its place in a page token.
    pub(super) fn key(self, item: &impl Fields) -> String {
        match self.by {
            By::Name => item.sort_name(),
            By::CreateTime => {
                // From the smallest number that there is, so that digits sort as numbers do.
                let moved = i128::from(item.create_time().as_microsecond()) - i128::from(i64::MIN);
                format!("{moved:020} {}", item.sort_name())
            }
        }
    }

    pub(super) fn compare(self, a: &str, b: &str) -> Ordering {
        if self.descending { b.cmp(a) } else { a.cmp(b) }
    }
}

impl fmt::Display for OrderBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by {
            By::Name => "name",
            By::CreateTime => "create_time",
        })?;
        f.write_str(if self.descending { " desc" } else { "" })
    }
}
