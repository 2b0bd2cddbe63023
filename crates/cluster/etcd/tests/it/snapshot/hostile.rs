//! Files that somebody made to hurt: an error or a bounded result, never a panic, and never more work than their size allows.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use keystead_etcd::{Layout, Snapshot, snapshot_inventory};

use super::files::error;
use crate::bbolt_file::{BboltFile, Written, bucket, database, meta, meta_page};

/// Pages 2 to 7 are leaves, 8 is the branch over them, 9 the tree of buckets.
fn victim() -> Vec<u8> {
    let keys: Vec<String> = (0..40).map(|index| format!("/registry/secrets/ns/{index:02}")).collect();
    let value = [b'x'; 80];
    let write = |(index, key): (usize, &String)| (index as u64 + 2, key.clone());
    let named: Vec<_> = keys.iter().enumerate().map(write).collect();
    let written: Vec<_> = named
        .iter()
        .map(|(revision, key)| Written { revision: *revision, key, value: Some(&value) })
        .collect();
    let bytes = database(1024, &written);
    assert_eq!(bytes.len(), 10 * 1024);
    bytes
}

#[test]
fn each_fault_is_named_with_its_page() {
    let page = |number: usize| number * 1024;
    for (fault, words) in [
        // The branch's first child.
        (
            (|b| b[8 * 1024 + 16 + 8] = 200) as fn(&mut Vec<u8>),
            "page 200 of the file is damaged: it lies outside",
        ),
        (|b| b[8 * 1024 + 16 + 8] = 8, "page 8 of the file is damaged: it is reached twice"),
        (|b| b[8 * 1024 + 16 + 8] = 3, "page 3 of the file is damaged: it is reached twice"),
        (|b| b[8 * 1024 + 16 + 8] = 1, "page 1 of the file is damaged: it is of the kind 0x0004"),
        (|b| b[8 * 1024 + 10] = 0, "page 8 of the file is damaged: it is a branch page without entries"),
        (|b| b[8 * 1024 + 11] = 0xff, "page 8 of the file is damaged: entry"),
        (|b| b[4 * 1024] = 5, "page 4 of the file is damaged: it says that it is page 5"),
        (|b| b[4 * 1024 + 8] = 0x10, "page 4 of the file is damaged: it is of the kind 0x0010"),
        (|b| b[4 * 1024 + 12] = 0xff, "page 4 of the file is damaged: it lies outside the 10 pages"),
        (|b| b[4 * 1024 + 12] = 1, "is reached twice"),
        (|b| b[4 * 1024 + 11] = 0xff, "page 4 of the file is damaged: entry"),
        // The first entry's value: 4 GiB, then all of the page.
        (
            |b| b[4 * 1024 + 16 + 12..4 * 1024 + 32].fill(0xff),
            "page 4 of the file is damaged: entry 0 reaches beyond its end",
        ),
        (|b| b[4 * 1024 + 16 + 13] = 3, "page 4 of the file is damaged: its 7 entries do not fit into it"),
        (
            |b| b[4 * 1024 + 16] = 1,
            "page 4 of the file is damaged: entry 0 is not a bucket where one is expected",
        ),
        (|b| b[9 * 1024 + 16] = 0, "page 9 of the file is damaged: entry 0 is not a bucket"),
        (
            |b| b[9 * 1024 + 35] = 9,
            "page 9 of the file is damaged: entry 0 is not a bucket where one is expected, or is one",
        ),
    ] {
        let mut bytes = victim();
        fault(&mut bytes);
        let (text, class) = error(bytes);
        assert!(text.contains(words), "{words}: {text}");
        assert_eq!(class, keystead_model::ErrorClass::Corrupt);
    }
    let first_key = page(4) + 16 + 7 * 16;
    for (at, value, words) in [
        (first_key + 8, b'-', "entry 0 of page 4 of the file is damaged: its key is not a revision"),
        (first_key, 1, "entry 0 of page 4 of the file is damaged: its revision is not older"),
        (first_key + 17, 0x0b, "entry 0 of page 4 of the file is damaged: its value is not a key"),
    ] {
        let mut bytes = victim();
        bytes[at] = value;
        assert!(error(bytes.clone()).0.contains(words), "{words}: {}", error(bytes).0);
    }
}

/// Each of 40 entries leads to the same megabyte.
#[test]
fn work_is_bounded_by_size() {
    let mut file = BboltFile::new(Cursor::new(Vec::new()), 64 << 10);
    let root = file.tree(std::iter::once((vec![0; 17], vec![0; 1 << 20], 0)));
    let mut bytes = file.finish(vec![bucket("key", root)]).into_inner();
    let page = 2 * (64 << 10);
    let header = bytes[page + 16..page + 32].to_vec();
    for index in 0..40_usize {
        let at = page + 16 + index * 16;
        bytes[at..at + 16].copy_from_slice(&header);
    }
    bytes[page + 10] = 40;
    assert!(error(bytes).0.contains("its 40 entries do not fit into it"));
}

/// A chain of branch pages as long as the file.
#[test]
fn depth_is_bounded() {
    let pages = 200_u64;
    let mut bytes = [meta_page(0, 1024, 2, pages, 6), meta_page(1, 1024, 2, pages, 7)].concat();
    for number in 2..pages {
        let mut page = vec![0; 1024];
        page[..8].copy_from_slice(&number.to_le_bytes());
        page[8] = 1;
        page[10] = 1;
        page[16] = 16;
        page[20] = 1;
        page[24..32].copy_from_slice(&(number + 1).to_le_bytes());
        bytes.extend(page);
    }
    assert!(error(bytes).0.contains("the tree is deeper than 32 pages"));
}

#[test]
fn meta_pages_that_promise_too_much_are_refused() {
    let whole = victim();
    for (page_size, root, pages) in [
        (1024, 9, u64::MAX),
        (1024, 9, 1 << 62),
        (1024, u64::MAX, 10),
        (1024, 0, 10),
        (1024, 9, 0),
        (1000, 9, 10),
        (0, 9, 10),
        (1 << 31, 9, 10),
    ] {
        let mut bytes = whole.clone();
        for (number, at) in [(0, 0), (1, 1024)] {
            bytes[at..at + 80].copy_from_slice(&meta(number, page_size, root, pages, 7));
        }
        let (text, class) = error(bytes);
        assert_eq!(class, keystead_model::ErrorClass::Corrupt, "{text}");
    }
}

/// All bytes of a small file, each with each of some values; then each length.
#[test]
fn no_damage_panics_or_hangs() {
    let whole = victim();
    for at in 0..whole.len() {
        for change in [0xff, 0x01, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            inspect(bytes);
        }
    }
    for length in (0..whole.len()).step_by(61) {
        inspect(whole[..length].to_vec());
    }
}

/// Named inputs, which the fuzzer starts from too.
#[test]
fn named_files_are_what_their_names_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    let found: BTreeMap<String, String> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|file| {
            let path = file.expect("file").path();
            let name = path.file_name().expect("name").to_string_lossy().into_owned();
            let read = Snapshot::open(&path)
                .and_then(|snapshot| snapshot_inventory(&snapshot, &Layout::default(), &[]));
            (name, read.map_or_else(|error| error.to_string(), |_| "read".to_owned()))
        })
        .collect();
    let said = [
        ("bad-cut-off", "it has 3000 bytes of 4096"),
        ("bad-cycle", "it is reached twice"),
        ("bad-meta-checksums", "their checksums are wrong"),
        ("bad-no-bucket-key", "it has no bucket `key`"),
        ("bad-order", "is not older than the one after it"),
        ("bad-revision", "its key is not a revision"),
        ("bad-value-beyond-page", "reaches beyond its end"),
        ("bad-version", "only version 2 is known"),
        ("good-database", "read"),
        ("good-inline-buckets", "read"),
        ("good-overflow", "read"),
        ("good-snapshot-with-hash", "read"),
    ];
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, said.map(|(name, _)| name));
    for (name, said) in said {
        assert!(found[name].contains(said), "{name}: {}", found[name]);
    }
}

fn inspect(bytes: Vec<u8>) {
    let size = bytes.len() as u64;
    let Ok(snapshot) = Snapshot::from_bytes(bytes) else { return };
    if let Ok(counted) = snapshot_inventory(&snapshot, &Layout::default(), &[]) {
        let stored = counted.current.groups.iter().chain(&counted.history.old.groups);
        assert!(stored.map(|group| group.bytes).sum::<u64>() <= size);
    }
}
