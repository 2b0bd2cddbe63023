//! A scan of many keys, page by page, in bounded memory.

use keystead_proto::etcd::{RangeRequest, RangeResponse};
use tonic::{Code, Status};

use crate::connection::{ANSWER_MAX, Entry, Etcd, ReadError};

/// Reads all keys with one of some prefixes, those of each in ascending order. All pages are of one revision, as long as etcd keeps it:
/// kube-apiserver compacts every 5 minutes, and then the scan goes on after the last key at the newest revision
/// and counts it ([`Self::repins`]).
#[derive(Debug)]
pub struct Scanner {
    etcd: Etcd,
    /// `None` when all is read.
    next_key: Option<Vec<u8>>,
    end: Vec<u8>,
    /// What follows when the range is read.
    ranges: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
    /// `None` before the first page and after a compaction.
    pinned: Option<i64>,
    first_revision: Option<i64>,
    last_revision: Option<i64>,
    repins: u64,
    /// Keys to ask for.
    limit: usize,
}

/// A part of a scan.
#[derive(Debug)]
pub struct Page {
    /// In ascending order of keys. May be empty.
    pub entries: Vec<Entry>,
    /// The revision that the entries are of.
    pub revision: i64,
}

impl Etcd {
    /// All keys that start with `prefix`, for example `/registry/secrets/`, page by page.
    pub fn scan(&self, prefix: &str) -> Scanner {
        self.scan_all(&[prefix])
    }

    /// All keys that start with one of these prefixes, in the order of the prefixes, at one revision.
    pub fn scan_all(&self, prefixes: &[impl AsRef<str>]) -> Scanner {
        Scanner::new(self.clone(), prefixes.iter().map(AsRef::as_ref))
    }
}

impl Scanner {
    /// The next page, `None` after the last one. A call that failed can be made again: it loses nothing.
    ///
    /// # Errors
    ///
    /// Where etcd does not answer, or answers what makes no sense.
    pub async fn next_page(&mut self) -> Result<Option<Page>, ReadError> {
        let Some(key) = self.next_key.clone() else { return Ok(None) };
        let answer = loop {
            match self.etcd.range(self.request(&key)).await {
                Ok(answer) => break answer,
                Err(status) => self.adapt(status)?,
            }
        };
        self.accept(&key, answer).map(Some)
    }

    /// The revisions of the first and of the last page read. They differ only after a compaction.
    pub fn revisions(&self) -> Option<(i64, i64)> {
        self.first_revision.zip(self.last_revision)
    }

    /// How often the scan had to go on at a newer revision. If it is not 0, keys that were written in the meantime
    /// may be counted in their old state or, where they are new, be missing.
    pub fn repins(&self) -> u64 {
        self.repins
    }

    fn new<'a>(etcd: Etcd, prefixes: impl Iterator<Item = &'a str>) -> Self {
        let ranges: Vec<_> = prefixes.map(|prefix| (start_of(prefix), end_of(prefix.as_bytes()))).collect();
        let mut scanner = Self {
            etcd,
            next_key: None,
            end: Vec::new(),
            ranges: ranges.into_iter(),
            pinned: None,
            first_revision: None,
            last_revision: None,
            repins: 0,
            limit: FIRST_LIMIT,
        };
        scanner.start_range();
        scanner
    }

    fn start_range(&mut self) {
        let range = self.ranges.next();
        let (start, end) = range.map_or_else(Default::default, |(start, end)| (Some(start), end));
        (self.next_key, self.end) = (start, end);
    }

    fn request(&self, key: &[u8]) -> RangeRequest {
        RangeRequest {
            key: key.to_vec(),
            range_end: self.end.clone(),
            limit: i64::try_from(self.limit).unwrap_or(i64::MAX),
            revision: self.pinned.unwrap_or(0),
            // The read that pins asks the whole cluster, so that it sees all that was written before. The others
            // need not: this member has that revision.
            serializable: self.pinned.is_some(),
            ..Default::default()
        }
    }

    /// Makes the same request possible, or gives the error back.
    fn adapt(&mut self, status: Status) -> Result<(), ReadError> {
        if status.code() == Code::OutOfRange {
            if self.pinned.is_some() && status.message().contains(COMPACTED) {
                self.pinned = None;
                self.repins += 1;
                return Ok(());
            }
            // A page larger than the decoder takes has the same code.
            if self.limit > 1 {
                self.limit /= 2;
                return Ok(());
            }
        }
        Err(ReadError::Call(Box::new(status)))
    }

    fn accept(&mut self, key: &[u8], answer: RangeResponse) -> Result<Page, ReadError> {
        let revision = match self.pinned {
            Some(revision) => revision,
            None => answer.header.ok_or(ReadError::NoRevision)?.revision,
        };
        let entries: Vec<Entry> = answer.kvs.into_iter().map(Entry::from).collect();
        let ascending = entries.is_sorted_by(|a, b| a.key < b.key);
        if !ascending || entries.first().is_some_and(|entry| entry.key.as_slice() < key) {
            return Err(ReadError::Disorder);
        }
        match entries.last() {
            _ if !answer.more => self.start_range(),
            // The next possible key.
            Some(last) => self.next_key = Some([last.key.as_slice(), &[0]].concat()),
            None => return Err(ReadError::Disorder),
        }
        self.pinned = Some(revision);
        self.first_revision.get_or_insert(revision);
        self.last_revision = Some(revision);
        let bytes: usize = entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
        self.limit = next_limit(self.limit, entries.len(), bytes);
        Ok(Page { entries, revision })
    }
}

/// How many keys to ask for after `limit` of them gave `count` keys and `bytes` bytes. It grows slowly, because a page
/// that is too large for us has already been read into memory by etcd.
fn next_limit(limit: usize, count: usize, bytes: usize) -> usize {
    let fitting = PAGE_BYTES.saturating_mul(count) / bytes.max(1);
    fitting.min(limit.saturating_mul(2)).clamp(1, LIMIT_MAX)
}

/// In etcd a lone zero byte is the smallest key, and as an end it is behind the largest.
fn start_of(prefix: &str) -> Vec<u8> {
    if prefix.is_empty() { vec![0] } else { prefix.as_bytes().to_vec() }
}

/// The first key after all that start with `prefix`.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Bytes to aim for in a page. Large, because etcd counts the whole rest of the range for each one: with a million keys
/// 500 at a time took ten times as long.
const PAGE_BYTES: usize = ANSWER_MAX / 3;

/// Keys in the first page, of which nothing is known yet: 8 MiB of 16 KiB values.
const FIRST_LIMIT: usize = 500;

/// Keys in a page of tiny values, as in kube-apiserver's own lists (`maxLimit` in `etcd3/store.go`).
const LIMIT_MAX: usize = 10_000;

/// Part of `ErrGRPCCompacted` in etcd's `rpctypes`, the same since 3.0.
const COMPACTED: &str = "required revision has been compacted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_is_after_the_prefix_and_nothing_else() {
        assert_eq!(end_of(b"/registry/"), b"/registry0");
        assert_eq!(end_of(b"a\xff\xff"), b"b");
        assert_eq!(end_of(b"\xff"), b"\0");
        assert_eq!(end_of(b""), b"\0");
    }

    #[test]
    fn pages_follow_the_size_of_values() {
        assert_eq!(next_limit(2000, 500, 500 * 4096), 2048);
        assert_eq!(next_limit(500, 500, 500 << 20), 8);
        assert_eq!(next_limit(1, 1, 15 << 20), 1);
        assert_eq!(next_limit(500, 500, 500), 1000);
        assert_eq!(next_limit(9000, 9000, 9000), 10_000);
        assert_eq!(next_limit(500, 0, 0), 1);
    }
}
