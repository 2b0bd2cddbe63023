//! One page of a tree, with the pages that follow and belong to it.

use std::ops::Range;

use zeroize::Zeroizing;

use super::error::{DatabaseError, PageProblem};
use super::fields::{number_u16, number_u32, number_u64};
use super::meta::HEADER;
use super::source::Source;
use super::{Database, KEY_MAX, Root};

/// A branch or leaf page. It keeps its buffer, which wipes itself: values are in it that may not be encrypted.
pub(crate) struct Node {
    page: u64,
    /// In the file.
    offset: u64,
    /// In bytes, with the pages that belong to it.
    length: u64,
    kind: Kind,
    count: usize,
    /// Its beginning: always all entries' headers, and where it is not large, all of it.
    buffer: Zeroizing<Vec<u8>>,
    filled: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Leaf,
}

/// One entry of a leaf page, as places in the file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Range<u64>,
    pub(crate) value: Range<u64>,
    is_bucket: bool,
}

/// Bytes of a page: borrowed from its buffer, or read on their own because the page is large.
pub(crate) enum Bytes<'a> {
    Buffered(&'a [u8]),
    Read(Zeroizing<Vec<u8>>),
}

impl Bytes<'_> {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Buffered(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

impl Node {
    /// An empty leaf, to be filled.
    pub(crate) fn new() -> Self {
        Self {
            page: 0,
            offset: 0,
            length: 0,
            kind: Kind::Leaf,
            count: 0,
            buffer: Zeroizing::new(Vec::new()),
            filled: 0,
        }
    }

    /// Its number in the file.
    pub(crate) fn page(&self) -> u64 {
        self.page
    }

    /// How many entries it has.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Reads the first page at `root`, which is known to be in the file, and says how many pages belong to it.
    pub(super) fn begin(
        &mut self,
        database: &Database,
        root: Root,
        part: Part,
    ) -> Result<u64, DatabaseError> {
        let size = database.meta.page_size;
        (self.page, self.offset, self.length) = match root {
            Root::Page(page) => (page, page.saturating_mul(size), size),
            Root::Inline { page, offset, length } => (page, offset, length),
        };
        self.filled = 0;
        match part {
            Part::All => self.fill(&*database.source, self.length)?,
            Part::Header => self.fill(&*database.source, HEADER as u64)?,
        }
        let header = || {
            let bytes = self.filled_bytes();
            Some((
                number_u64(bytes, 0)?,
                number_u16(bytes, 8)?,
                number_u16(bytes, 10)?,
                number_u32(bytes, 12)?,
            ))
        };
        let (number, kind, count, overflow) =
            header().ok_or_else(|| self.damaged(PageProblem::Crowded(0)))?;
        self.count = count.into();
        self.kind = match kind {
            BRANCH => Kind::Branch,
            LEAF => Kind::Leaf,
            other => return Err(self.damaged(PageProblem::Kind(other))),
        };
        match root {
            // A page inside an entry has no number, and its length is that of the entry.
            Root::Inline { .. } => Ok(0),
            Root::Page(_) if number != self.page => Err(self.damaged(PageProblem::Number(number))),
            Root::Page(_) => Ok(overflow.into()),
        }
    }

    /// Reads the pages that belong to it, which are known to be in the file, and checks its entries.
    pub(super) fn complete(&mut self, database: &Database, overflow: u64) -> Result<(), DatabaseError> {
        if overflow > 0 {
            self.length = (overflow + 1).saturating_mul(database.meta.page_size);
            self.fill(&*database.source, self.length)?;
        }
        self.check_entries()
    }

    /// Reads on, up to `length` bytes or the size of the buffer.
    fn fill(&mut self, source: &dyn Source, length: u64) -> Result<(), DatabaseError> {
        let wanted = usize::try_from(length.min(self.length)).unwrap_or(BUFFER).min(BUFFER);
        if self.buffer.len() < wanted {
            // A new one: growing in place would leave a copy of values behind.
            let mut larger = Zeroizing::new(vec![0; wanted]);
            larger.iter_mut().zip(self.filled_bytes()).for_each(|(to, from)| *to = *from);
            self.buffer = larger;
        }
        let rest = self.buffer.get_mut(self.filled..wanted).unwrap_or_default();
        source.read_at(rest, self.offset + self.filled as u64)?;
        self.filled = self.filled.max(wanted);
        Ok(())
    }

    /// No entry reaches beyond the page, and all together are no larger than it: a page that says one thing in many entries
    /// would take more work than its size allows.
    fn check_entries(&self) -> Result<(), DatabaseError> {
        let header = match self.kind {
            Kind::Branch => BRANCH_ENTRY,
            Kind::Leaf => LEAF_ENTRY,
        };
        let mut total = (HEADER + self.count * header) as u64;
        for index in 0..self.count {
            let (key, value) = self.place(index)?;
            total = total.saturating_add(key.end - key.start).saturating_add(value.end - value.start);
        }
        if total > self.length {
            return Err(self.damaged(PageProblem::Crowded(self.count)));
        }
        Ok(())
    }

    /// Key and value of an entry, as places in the file; the value of a branch is empty.
    fn place(&self, index: usize) -> Result<(Range<u64>, Range<u64>), DatabaseError> {
        let fields = || {
            let bytes = self.filled_bytes();
            let (start, position, key, value) = match self.kind {
                Kind::Branch => {
                    let at = HEADER + index * BRANCH_ENTRY;
                    (at, number_u32(bytes, at)?, number_u32(bytes, at + 4)?, 0)
                }
                Kind::Leaf => {
                    let at = HEADER + index * LEAF_ENTRY;
                    (at, number_u32(bytes, at + 4)?, number_u32(bytes, at + 8)?, number_u32(bytes, at + 12)?)
                }
            };
            // Four numbers of 32 bits: no sum of them overflows.
            let key_start = start as u64 + u64::from(position);
            let value_start = key_start + u64::from(key);
            let end = value_start + u64::from(value);
            (end <= self.length).then_some((key_start, value_start, end))
        };
        let (key, value, end) = fields().ok_or_else(|| self.damaged(PageProblem::Entry(index)))?;
        let in_file = |start: u64, end: u64| self.offset + start..self.offset + end;
        Ok((in_file(key, value), in_file(value, end)))
    }

    /// One entry of a leaf.
    pub(crate) fn entry(&self, index: usize) -> Result<Entry, DatabaseError> {
        let (key, value) = self.place(index)?;
        let flags = number_u32(self.filled_bytes(), HEADER + index * LEAF_ENTRY).unwrap_or_default();
        Ok(Entry { key, value, is_bucket: flags & BUCKET != 0 })
    }

    /// One entry of a leaf that is a value and no bucket.
    pub(crate) fn value(&self, index: usize) -> Result<Entry, DatabaseError> {
        let entry = self.entry(index)?;
        if entry.is_bucket {
            return Err(self.damaged(PageProblem::Bucket(index)));
        }
        let (length, maximum) = (entry.key.end - entry.key.start, KEY_MAX);
        if length > maximum {
            return Err(self.damaged(PageProblem::Large { index, length, maximum }));
        }
        Ok(entry)
    }

    /// Where the bucket in an entry of a leaf begins.
    pub(super) fn bucket(&self, source: &dyn Source, index: usize) -> Result<Root, DatabaseError> {
        let entry = self.entry(index)?;
        let wrong = || self.damaged(PageProblem::Bucket(index));
        let length = entry.value.end - entry.value.start;
        if !entry.is_bucket || length < BUCKET_HEADER {
            return Err(wrong());
        }
        // Root page (8) and a sequence (8).
        let header = entry.value.start..entry.value.start + BUCKET_HEADER;
        match number_u64(self.bytes(source, &header, BUCKET_HEADER)?.as_slice(), 0) {
            Some(0) => {
                let offset = entry.value.start + BUCKET_HEADER;
                Ok(Root::Inline { page: self.page, offset, length: length - BUCKET_HEADER })
            }
            Some(page) => Ok(Root::Page(page)),
            None => Err(wrong()),
        }
    }

    /// The page that an entry of a branch leads to.
    pub(super) fn child(&self, index: usize) -> Result<u64, DatabaseError> {
        let child = number_u64(self.filled_bytes(), HEADER + index * BRANCH_ENTRY + 8);
        child.ok_or_else(|| self.damaged(PageProblem::Entry(index)))
    }

    /// The bytes at a place that [`Self::entry`] gave, at most `maximum` of them.
    pub(crate) fn bytes(
        &self,
        source: &dyn Source,
        place: &Range<u64>,
        maximum: u64,
    ) -> Result<Bytes<'_>, DatabaseError> {
        let length = place.end.saturating_sub(place.start);
        if length > maximum {
            return Err(self.damaged(PageProblem::Large { index: self.index_of(place), length, maximum }));
        }
        let inside = |offset: u64| usize::try_from(offset.checked_sub(self.offset)?).ok();
        let buffered = inside(place.start).zip(inside(place.end));
        if let Some(bytes) = buffered.and_then(|(start, end)| self.filled_bytes().get(start..end)) {
            return Ok(Bytes::Buffered(bytes));
        }
        let mut bytes = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or_default()]);
        source.read_at(&mut bytes, place.start)?;
        Ok(Bytes::Read(bytes))
    }

    pub(crate) fn damaged(&self, problem: PageProblem) -> DatabaseError {
        DatabaseError::Page { page: self.page, problem }
    }

    fn index_of(&self, place: &Range<u64>) -> usize {
        let holds = |index: &usize| {
            self.place(*index).is_ok_and(|(key, value)| (key.start..value.end).contains(&place.start))
        };
        (0..self.count).find(holds).unwrap_or_default()
    }

    fn filled_bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }
}

/// How much of a page is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// Enough to count its entries.
    Header,
}

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const BUCKET: u32 = 0x01;

/// Place of the key (4), its length (4), page (8).
const BRANCH_ENTRY: usize = 16;
/// Flags (4), place of the key (4), its length (4), length of the value behind it (4).
const LEAF_ENTRY: usize = 16;
const BUCKET_HEADER: u64 = 16;

/// Bytes that are kept of a page: its header and the headers of as many entries as it can count, 1 MiB. Real pages have 4 KiB, and more only for large values.
const BUFFER: usize = HEADER + u16::MAX as usize * LEAF_ENTRY;
