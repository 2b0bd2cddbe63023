//! A writer of bbolt files: page sizes, shapes and faults that etcd does not write on this machine. It knows the format from
//! bbolt's own code and shares nothing with the reader.

use std::io::{Seek, SeekFrom, Write};

use prost::Message;

/// Writes pages behind each other; the meta pages come last.
pub(crate) struct BboltFile<W> {
    out: W,
    page_size: usize,
    next: u64,
}

/// One write to etcd, or a deletion.
pub(crate) struct Written<'a> {
    pub(crate) revision: u64,
    pub(crate) key: &'a str,
    pub(crate) value: Option<&'a [u8]>,
}

/// One entry of a leaf page.
type Entry = (Vec<u8>, Vec<u8>, u32);

impl<W: Write + Seek> BboltFile<W> {
    pub(crate) fn new(mut out: W, page_size: usize) -> Self {
        out.seek(SeekFrom::Start(2 * page_size as u64)).expect("writable");
        Self { out, page_size, next: 2 }
    }

    /// The tree of a bucket; gives its root.
    pub(crate) fn tree(&mut self, entries: impl Iterator<Item = Entry>) -> u64 {
        let (mut level, mut page, mut size) = (Vec::new(), Vec::new(), 16);
        for entry in entries {
            let more = 16 + entry.0.len() + entry.1.len();
            if size + more > self.page_size && !page.is_empty() {
                level.push(self.leaf(&page));
                page.clear();
                size = 16;
            }
            size += more;
            page.push(entry);
        }
        level.push(self.leaf(&page));
        while level.len() > 1 {
            let fitting = (self.page_size - 16) / (16 + level[0].0.len());
            level = level.chunks(fitting.max(2)).map(|children| self.branch(children)).collect();
        }
        level[0].1
    }

    /// Writes the buckets and the meta pages.
    pub(crate) fn finish(mut self, buckets: Vec<Entry>) -> W {
        let root = self.tree(buckets.into_iter());
        let pages = self.next;
        for (number, transaction) in [(0, 6), (1, 7)] {
            let page = meta_page(number, self.page_size, root, pages, transaction);
            self.out.seek(SeekFrom::Start(number * self.page_size as u64)).expect("writable");
            self.out.write_all(&page).expect("writable");
        }
        self.out
    }

    fn leaf(&mut self, entries: &[Entry]) -> (Vec<u8>, u64) {
        let first = entries.first().map_or_else(|| vec![0; 17], |entry| entry.0.clone());
        (first, self.write(&leaf_page(entries)))
    }

    fn branch(&mut self, children: &[(Vec<u8>, u64)]) -> (Vec<u8>, u64) {
        let mut data = 16 * children.len();
        let (mut headers, mut keys) = (page_header(1, children.len()), Vec::new());
        for (index, (key, page)) in children.iter().enumerate() {
            let position = data - 16 * index;
            headers.extend((position as u32).to_le_bytes());
            headers.extend((key.len() as u32).to_le_bytes());
            headers.extend(page.to_le_bytes());
            data += key.len();
            keys.extend_from_slice(key);
        }
        headers.extend(keys);
        (children[0].0.clone(), self.write(&headers))
    }

    fn write(&mut self, page: &[u8]) -> u64 {
        let number = self.next;
        let pages = page.len().div_ceil(self.page_size);
        let mut bytes = page.to_vec();
        bytes.resize(pages * self.page_size, 0);
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[12..16].copy_from_slice(&(pages as u32 - 1).to_le_bytes());
        self.out.write_all(&bytes).expect("writable");
        self.next += pages as u64;
        number
    }
}

/// A whole database of etcd in memory.
pub(crate) fn database(page_size: usize, written: &[Written<'_>]) -> Vec<u8> {
    let mut file = BboltFile::new(std::io::Cursor::new(Vec::new()), page_size);
    let root = file.tree(written.iter().map(entry));
    file.finish(vec![bucket("key", root)]).into_inner()
}

/// An entry of the bucket `key`.
pub(crate) fn entry(written: &Written<'_>) -> Entry {
    let mut name = [&written.revision.to_be_bytes()[..], b"_", &0_u64.to_be_bytes()].concat();
    if written.value.is_none() {
        name.push(b't');
    }
    let value = keystead_proto::etcd::KeyValue {
        key: written.key.into(),
        value: written.value.unwrap_or_default().to_vec(),
        ..Default::default()
    };
    (name, value.encode_to_vec(), 0)
}

/// The entry of a bucket with a page of its own.
pub(crate) fn bucket(name: &str, root: u64) -> Entry {
    (name.into(), [root.to_le_bytes(), [0; 8]].concat(), 1)
}

/// The entry of a bucket that is inside it.
pub(crate) fn inline_bucket(name: &str, entries: &[Entry]) -> Entry {
    (name.into(), [&[0; 16][..], &leaf_page(entries)].concat(), 1)
}

/// With the right checksum.
pub(crate) fn meta_page(number: u64, page_size: usize, root: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut page = meta(number, page_size, root, pages, transaction);
    page.resize(page_size, 0);
    page
}

/// The beginning of a meta page: 80 bytes.
pub(crate) fn meta(number: u64, page_size: usize, root: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut page = page_header(4, 0);
    page[..8].copy_from_slice(&number.to_le_bytes());
    for field in [0xED0C_DAED, 2, page_size as u32, 0] {
        page.extend(field.to_le_bytes());
    }
    for field in [root, 0, u64::MAX, pages, transaction] {
        page.extend(field.to_le_bytes());
    }
    let sum = page[16..]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    page.extend(sum.to_le_bytes());
    page
}

fn leaf_page(entries: &[Entry]) -> Vec<u8> {
    let mut data = 16 * entries.len();
    let (mut headers, mut rest) = (page_header(2, entries.len()), Vec::new());
    for (index, (key, value, flags)) in entries.iter().enumerate() {
        for field in [*flags, (data - 16 * index) as u32, key.len() as u32, value.len() as u32] {
            headers.extend(field.to_le_bytes());
        }
        data += key.len() + value.len();
        rest.extend_from_slice(key);
        rest.extend_from_slice(value);
    }
    headers.extend(rest);
    headers
}

/// Without number and overflow.
fn page_header(kind: u16, count: usize) -> Vec<u8> {
    let mut header = vec![0; 16];
    header[8..10].copy_from_slice(&kind.to_le_bytes());
    header[10..12].copy_from_slice(&(count as u16).to_le_bytes());
    header
}
