//! What SQLite does not use of a page of a B-tree: the gap between the pointers to its cells and the cells, and its free blocks.
//! The layout is that of <https://sqlite.org/fileformat2.html#b_tree_pages>.

use std::ops::Range;

/// Where the header of a page begins; the first page of a file has the file's own header before it.
const FIRST_PAGE_HEADER: usize = 100;

/// The parts of a page that hold nothing, none of them empty. They are empty for a page that is not of a B-tree: parts of long
/// values, and free pages, which `secure_delete` fills with zeros.
///
/// `None`: the page is not laid out as the format says, to the last byte. Then nothing is known of it.
pub(crate) fn unused(page: &[u8], is_first: bool) -> Option<Vec<Range<usize>>> {
    let header = if is_first { FIRST_PAGE_HEADER } else { 0 };
    let Some(kind) = Kind::of(*page.get(header)?) else { return Some(Vec::new()) };
    let cells = number(page, header + 3)?;
    let pointers = header + if kind.is_leaf { 8 } else { 12 };
    let pointers_end = pointers + 2 * cells;
    let content = match number(page, header + 5)? {
        0 => 65_536,
        content => content,
    };
    // What stands between here and the end of the page, without a hole.
    let mut taken = Vec::with_capacity(cells + 1);
    for pointer in (pointers..pointers_end).step_by(2) {
        let start = number(page, pointer)?;
        taken.push(start..start.checked_add(kind.cell_len(page.get(start..)?, page.len())?)?);
    }
    let mut unused = Vec::new();
    unused.push(pointers_end..content);
    let mut block = number(page, header + 1)?;
    while block != 0 {
        let end = block.checked_add(number(page, block + 2)?)?;
        taken.push(block..end);
        // Its first bytes say where the next one is, and how long it is.
        unused.push(block + 4..end);
        let next = number(page, block)?;
        if next != 0 && next < end {
            return None;
        }
        block = next;
    }
    taken.sort_unstable_by_key(|part| part.start);
    let (mut at, mut fragments) = (content, 0);
    for part in taken {
        fragments += part.start.checked_sub(at)?;
        at = part.end;
    }
    fragments += page.len().checked_sub(at)?;
    let whole = fragments == usize::from(*page.get(header + 7)?) && pointers_end <= content;
    unused.retain(|part| !part.is_empty());
    whole.then_some(unused)
}

/// The four kinds of pages of a B-tree.
struct Kind {
    is_leaf: bool,
    /// Of a table with row ids; otherwise of an index, which a table without them is too.
    is_table: bool,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let (is_leaf, is_table) = match byte {
            2 => (false, false),
            5 => (false, true),
            10 => (true, false),
            13 => (true, true),
            _ => return None,
        };
        Some(Self { is_leaf, is_table })
    }

    /// How many bytes of the page the cell takes with which `bytes` begins.
    fn cell_len(&self, bytes: &[u8], page_len: usize) -> Option<usize> {
        let mut at = if self.is_leaf { 0 } else { 4 };
        let (first, len) = varint(bytes.get(at..)?)?;
        at += len;
        if self.is_table {
            if !self.is_leaf {
                return Some(at);
            }
            at += varint(bytes.get(at..)?)?.1;
        }
        let payload = usize::try_from(first).ok()?;
        let most = if self.is_table { page_len.checked_sub(35)? } else { share(page_len, 64)? };
        if payload <= most {
            // A cell has room for the head of a free block.
            return Some((at.checked_add(payload)?).max(4));
        }
        let least = share(page_len, 32)?;
        let kept = least + (payload - least) % page_len.checked_sub(4)?;
        // The rest is on pages of its own; the number of the first follows.
        Some(at + if kept <= most { kept } else { least } + 4)
    }
}

/// So many 255ths of a page, as the format counts them.
fn share(page_len: usize, parts: usize) -> Option<usize> {
    (page_len.checked_sub(12)? * parts / 255).checked_sub(23)
}

fn number(page: &[u8], at: usize) -> Option<usize> {
    let bytes = page.get(at..at.checked_add(2)?)?.try_into().ok()?;
    Some(usize::from(u16::from_be_bytes(bytes)))
}

/// A number of one to nine bytes, and how many they are.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    /// Every page of a database with tables of both kinds, of several levels, with long values and holes.
    fn pages(page_len: usize) -> Vec<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pages.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA page_size = {page_len}; PRAGMA secure_delete = ON;
                 CREATE TABLE one (name BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;
                 CREATE TABLE other (id INTEGER PRIMARY KEY, value BLOB);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                 INSERT INTO one SELECT printf('%08x', i * 2654435761 % 4294967296), randomblob(i % 173) FROM n;
                 INSERT INTO other SELECT rowid * 7, value FROM (SELECT row_number() OVER () AS rowid, value FROM one);
                 UPDATE one SET value = randomblob(length(value) * 40) WHERE substr(name, 8) = '0';
                 DELETE FROM one WHERE substr(name, 7, 1) IN ('3', '7', 'b');
                 DELETE FROM other WHERE id % 5 = 0;"
            ))
            .unwrap();
        drop(connection);
        std::fs::read(path).unwrap().chunks(page_len).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn what_is_not_used_may_be_anything() {
        for page_len in [512, 4096, 65_536] {
            let pages = pages(page_len);
            let (mut kinds, mut parts) = (std::collections::BTreeSet::new(), 0);
            let mut file = Vec::new();
            for (number, page) in pages.iter().enumerate() {
                let unused = unused(page, number == 0).expect("a page of SQLite's own");
                kinds.insert(page[if number == 0 { 100 } else { 0 }]);
                let mut page = page.clone();
                for part in unused {
                    parts += 1;
                    page[part].fill(0x5a);
                }
                file.extend(page);
            }
            assert!(kinds.is_superset(&[2, 5, 10, 13].into()), "{page_len}: {kinds:?}");
            assert!(parts > pages.len() / 2, "{page_len}: {parts} parts of {} pages", pages.len());
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("filled.db");
            std::fs::write(&path, file).unwrap();
            let filled = Connection::open(&path).unwrap();
            let check: String = filled.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(check, "ok");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0..5_usize, first: bool) {
            let mut bytes = bytes;
            if let (Some(byte), Some(kind)) = (bytes.get_mut(if first { 100 } else { 0 }), [2, 5, 10, 13].get(kind)) {
                *byte = *kind;
            }
            for part in unused(&bytes, first).into_iter().flatten() {
                prop_assert!(part.start < part.end && part.end <= bytes.len());
            }
        }
    }
}
