//! What etcd's multi-version store keeps in the bucket `key`: each write is an entry of its own, named by its revision.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::error::{EntryProblem, SnapshotError};
use super::seen_keys::{Inserted, SeenKeys};
use super::{Snapshot, SnapshotRevisions};
use crate::bbolt::{Bytes, DatabaseError, Node, Walk};
use crate::connection::ANSWER_MAX;

/// One value that was written to a key. The value may be a Secret that is not encrypted: keep no copy of it.
#[derive(Clone, Copy)]
pub struct StoredRevision<'a> {
    /// Whole, as kube-apiserver binds it into what it seals.
    pub key: &'a [u8],
    /// Encrypted or not.
    pub value: &'a [u8],
    /// The revision that wrote it: an object's `resourceVersion`.
    pub revision: i64,
    /// Whether it is what a read finds.
    pub age: Age,
}

/// What a revision is to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The newest one: what the API server reads.
    Current,
    /// A newer one replaced it or deleted the key. Compaction removes it.
    Old,
}

impl Snapshot {
    /// Gives each revision with a value to `visit`, newer ones of a key before older ones. Takes at most 32 MiB of memory
    /// beside the largest value, however many keys there are: beyond 1.17 million revisions the file is read once for each
    /// further 1.17 million.
    ///
    /// # Errors
    ///
    /// Where the file is damaged, was changed meanwhile, or holds more than 37 million revisions. `visit` may have been called
    /// before that.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(StoredRevision<'_>),
    ) -> Result<SnapshotRevisions, SnapshotError> {
        let read = self.read_all(&mut visit);
        // Whatever is wrong with a file that somebody writes to, this is why.
        if !self.database.is_unchanged()? {
            return Err(SnapshotError::Changed);
        }
        read
    }

    fn read_all(
        &self,
        visit: &mut impl FnMut(StoredRevision<'_>),
    ) -> Result<SnapshotRevisions, SnapshotError> {
        let parts = self.parts()?;
        let mut seen = SeenKeys::new(self.most_entries());
        let mut last = FIRST_REVISION;
        for part in 0..parts {
            last = self.read_part(part, parts, &mut seen, visit)?;
            seen.clear();
        }
        let compaction = self.compaction()?;
        let (finished, scheduled) = (compaction.finished, compaction.scheduled);
        Ok(SnapshotRevisions {
            // As etcd counts when it starts: compaction may have removed all that was newer.
            last: finished.map_or(last, |finished| last.max(finished)),
            compacted: finished.max(scheduled),
            compaction_unfinished: scheduled > finished,
        })
    }

    /// Reads the keys of one part, from the newest revision to the oldest: the first one of each key is its current one.
    fn read_part(
        &self,
        part: u64,
        parts: u64,
        seen: &mut SeenKeys,
        visit: &mut impl FnMut(StoredRevision<'_>),
    ) -> Result<i64, SnapshotError> {
        let mut walk = Walk::new(&self.database, self.keys);
        let mut leaf = Node::new();
        let mut newest = None;
        let mut before = None;
        while walk.next_leaf(&mut leaf)? {
            for index in (0..leaf.count()).rev() {
                let damaged = |problem| SnapshotError::Entry { page: leaf.page(), index, problem };
                let entry = leaf.value(index)?;
                let name = Name::parse(self.bytes(&leaf, &entry.key)?.as_slice())
                    .ok_or_else(|| damaged(EntryProblem::Key))?;
                if before.is_some_and(|before| name.revision >= before) {
                    return Err(damaged(EntryProblem::Order));
                }
                before = Some(name.revision);
                newest.get_or_insert(name.revision.0);

                let bytes = self.bytes(&leaf, &entry.value)?;
                let (key, value) = key_value(bytes.as_slice()).ok_or_else(|| damaged(EntryProblem::Value))?;
                let fingerprint = seen.fingerprint(key);
                if !fingerprint.is_in(part, parts) {
                    continue;
                }
                let age = match seen.insert(fingerprint) {
                    Inserted::New => Age::Current,
                    Inserted::Known => Age::Old,
                    Inserted::Full => return Err(SnapshotError::TooMany(SeenKeys::MAX)),
                };
                if !name.deletes {
                    visit(StoredRevision { key, value, revision: name.revision.0, age });
                }
            }
        }
        Ok(newest.unwrap_or(FIRST_REVISION))
    }

    /// Into how many parts the keys are divided, so that each has place in [`SeenKeys`].
    fn parts(&self) -> Result<u64, SnapshotError> {
        if self.most_entries() <= SeenKeys::MAX {
            return Ok(1);
        }
        let mut entries = 0;
        let mut walk = Walk::new(&self.database, self.keys);
        let mut leaf = Node::new();
        while walk.next_count(&mut leaf)? {
            entries += leaf.count() as u64;
        }
        let parts = entries.div_ceil(PART).max(1);
        if parts > PARTS_MAX { Err(SnapshotError::TooMany(entries)) } else { Ok(parts) }
    }

    /// More have no place in the file.
    fn most_entries(&self) -> u64 {
        self.database.size() / SMALLEST_ENTRY
    }

    fn compaction(&self) -> Result<Compaction, DatabaseError> {
        let mut compaction = Compaction::default();
        let Some(root) = self.meta else { return Ok(compaction) };
        let mut walk = Walk::new(&self.database, root);
        let mut leaf = Node::new();
        while walk.next_leaf(&mut leaf)? {
            for index in 0..leaf.count() {
                let entry = leaf.value(index)?;
                let slot = match self.bytes(&leaf, &entry.key)?.as_slice() {
                    b"finishedCompactRev" => &mut compaction.finished,
                    b"scheduledCompactRev" => &mut compaction.scheduled,
                    _ => continue,
                };
                *slot = Name::parse(self.bytes(&leaf, &entry.value)?.as_slice()).map(|it| it.revision.0);
            }
        }
        Ok(compaction)
    }

    fn bytes<'a>(&self, leaf: &'a Node, place: &std::ops::Range<u64>) -> Result<Bytes<'a>, DatabaseError> {
        leaf.bytes(self.database.source(), place, VALUE_MAX)
    }
}

#[derive(Default)]
struct Compaction {
    finished: Option<i64>,
    scheduled: Option<i64>,
}

/// A key of the bucket: `main(8, big endian) _ sub(8, big endian)`, with a `t` behind it where the key was deleted.
struct Name {
    /// Of the transaction, and the place in it.
    revision: (i64, i64),
    deletes: bool,
}

impl Name {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (main, rest) = bytes.split_first_chunk()?;
        let (sub, mark) = rest.strip_prefix(b"_")?.split_first_chunk()?;
        let deletes = match mark {
            b"" => false,
            b"t" => true,
            _ => return None,
        };
        let revision = (i64::from_be_bytes(*main), i64::from_be_bytes(*sub));
        (revision.0 >= 0 && revision.1 >= 0).then_some(Self { revision, deletes })
    }
}

/// Key and value of an `mvccpb.KeyValue`, without a copy of them: the value may be a Secret. A deletion has a key only.
fn key_value(mut message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut key, mut value): (Option<&[u8]>, &[u8]) = (None, &[]);
    while !message.is_empty() {
        let (tag, wire_type) = decode_key(&mut message).ok()?;
        match (tag, wire_type) {
            (1 | 5, WireType::LengthDelimited) => {
                let length = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                if tag == 1 { key = Some(bytes) } else { value = bytes }
            }
            (1 | 5, _) => return None,
            _ => skip_field(wire_type, tag, &mut message, DecodeContext::default()).ok()?,
        }
    }
    Some((key?, value))
}

/// Of an etcd to which nothing was written.
const FIRST_REVISION: i64 = 1;

/// Bytes of the largest value taken, as from a running etcd. By default etcd takes 1.5 MiB.
const VALUE_MAX: u64 = ANSWER_MAX as u64;

/// Bytes that an entry has at least: its header, a revision, and a message with a key of one byte.
const SMALLEST_ENTRY: u64 = 16 + 17 + 3;

/// Revisions for each part. Less than there is place for, because parts are not exactly equal: the difference is some 100
/// times the standard deviation.
const PART: u64 = SeenKeys::MAX / 16 * 15;

/// Each part reads the file once more. etcd's limit of 8 GiB has place for 37 million revisions of 230 bytes, and no object of
/// Kubernetes is smaller.
const PARTS_MAX: u64 = 32;

#[cfg(test)]
#[path = "../../tests/it/bbolt_file.rs"]
#[expect(dead_code, reason = "the integration tests use more of it")]
mod bbolt_file;

#[cfg(test)]
mod tests {
    use super::bbolt_file::{Written, database};
    use super::*;

    #[test]
    fn names_are_revisions() {
        let name = |bytes: &[u8]| Name::parse(bytes).map(|name| (name.revision, name.deletes));
        assert_eq!(name(b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03"), Some(((258, 3), false)));
        assert_eq!(name(b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03t"), Some(((258, 3), true)));
        for bad in [
            &b""[..],
            b"\0\0\0\0\0\0\x01\x02",
            b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\x01\x02-\0\0\0\0\0\0\0\x03",
            b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03u",
            b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03tt",
            b"\xff\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03",
        ] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
    }

    /// A file with more revisions than have place in memory is read in parts, which no file of a test is large enough for.
    #[test]
    fn parts_together_are_the_whole() {
        let keys: Vec<String> = (0..100).map(|index| format!("/registry/secrets/ns/{index}")).collect();
        let written: Vec<Written<'_>> = (0..1000)
            .map(|index| Written {
                revision: index + 2,
                key: &keys[(index % 100) as usize],
                value: (index % 7 != 0).then_some(b"{}"),
            })
            .collect();
        let snapshot = Snapshot::from_bytes(database(4096, &written)).expect("opens");
        let read = |parts| {
            let (mut seen, mut found) = (SeenKeys::new(snapshot.most_entries()), Vec::new());
            for part in 0..parts {
                let mut visit = |it: StoredRevision<'_>| {
                    found.push((it.key.to_vec(), it.revision, it.age == Age::Current, part));
                };
                snapshot.read_part(part, parts, &mut seen, &mut visit).expect("read");
                seen.clear();
            }
            found.sort();
            found
        };
        let without_part = |found: &[(Vec<u8>, i64, bool, u64)]| -> Vec<_> {
            found.iter().map(|(key, revision, current, _)| (key.clone(), *revision, *current)).collect()
        };
        let (whole, parts) = (read(1), read(3));
        assert_eq!(without_part(&parts), without_part(&whole));
        assert_eq!(whole.len(), written.iter().filter(|it| it.value.is_some()).count());
        let used: std::collections::BTreeSet<_> = parts.iter().map(|(_, _, _, part)| part).collect();
        assert_eq!(used.len(), 3, "100 keys are not all in one part");
    }

    #[test]
    fn messages_give_key_and_value() {
        let entry = keystead_proto::etcd::KeyValue {
            key: b"k".to_vec(),
            create_revision: 300,
            mod_revision: -1,
            version: 2,
            value: vec![7; 200],
            lease: 9,
        };
        let bytes = prost::Message::encode_to_vec(&entry);
        assert_eq!(key_value(&bytes), Some((&b"k"[..], &[7; 200][..])));
        for length in 0..bytes.len() {
            // A message that is cut between two fields is a whole one.
            assert_ne!(key_value(&bytes[..length]).map(|(_, value)| value.len()), Some(199), "{length}");
        }
        assert_eq!(key_value(b"\x0a\x01k"), Some((&b"k"[..], &b""[..])));
        for bad in [
            &b""[..],
            b"\x2a\x01v",
            b"\x0a\x05k",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x08\x01",
        ] {
            assert_eq!(key_value(bad), None, "{bad:?}");
        }
    }
}
