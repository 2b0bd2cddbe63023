//! Good files of all shapes, and files that are something else.

use std::io::Cursor;

use keystead_etcd::{Age, HashCheck, Layout, Snapshot, SnapshotError, StoredRevision, snapshot_inventory};
use keystead_model::ErrorClass;
use proptest::prelude::*;

use super::rows;
use crate::bbolt_file::{BboltFile, Written, bucket, database, entry, inline_bucket};

#[test]
fn page_sizes_large_values_and_many_levels_are_read() {
    // Larger than a page, larger than the reader's buffer, and one that ends with its page.
    let large = [vec![b'x'; 3000], vec![b'y'; 3 << 20], vec![b'z'; 65_536 - 16 - 16 - 17 - 30]];
    for page_size in [1024, 4096, 16 << 10, 64 << 10] {
        let keys: Vec<String> = (0..3000).map(|index| format!("/registry/secrets/ns/{index:04}")).collect();
        let written: Vec<Written<'_>> = keys
            .iter()
            .enumerate()
            .map(|(index, key)| {
                let value = large.get(index / 1000).filter(|_| index % 1000 == 7);
                Written { revision: index as u64 + 2, key, value: Some(value.map_or(b"{}", Vec::as_slice)) }
            })
            .collect();
        let found = current(&database(page_size, &written));
        let expected: Vec<_> = written
            .iter()
            .rev()
            .map(|it| (it.key.to_owned(), it.value.map_or(0, <[u8]>::len), it.revision as i64))
            .collect();
        assert!(found == expected, "page size {page_size}: {} of {}", found.len(), expected.len());
    }
}

#[test]
fn what_was_replaced_or_deleted_is_old() {
    let write = |revision, key, value| Written { revision, key, value: Some(value) };
    let bytes = database(
        4096,
        &[
            write(2, "/registry/secrets/ns/a", b"k8s\0 old"),
            write(3, "/registry/secrets/ns/b", b"{}"),
            write(4, "/registry/secrets/ns/a", b"k8s:enc:nothing:"),
            write(5, "/registry/configmaps/ns/a", b"k8s\0"),
            Written { revision: 6, key: "/registry/secrets/ns/b", value: None },
            write(7, "/registry/configmaps/ns/a", b"k8s\0"),
            write(8, "/registry/secretsandmore/ns/a", b"{}"),
            write(9, "/registry/secrets/ns/c", b"{}"),
            Written { revision: 10, key: "/registry/secrets/ns/c", value: None },
            write(11, "/registry/secrets/ns/c", b""),
        ],
    );
    let snapshot = Snapshot::from_bytes(bytes).expect("opens");
    let counted =
        snapshot_inventory(&snapshot, &Layout::default(), &["secrets".to_owned()]).expect("counted");
    let row = |encryption: &str, objects| ("secrets".to_owned(), encryption.to_owned(), objects);
    assert_eq!(rows(&counted.current), [row("plain other", 1), row("malformed", 1)]);
    assert_eq!(rows(&counted.history.old), [row("plain protobuf", 1), row("plain json", 2)]);
    assert_eq!((counted.current.last_revision, counted.history.elsewhere), (Some(11), 2));
    assert_eq!((counted.history.compacted_revision, counted.history.compaction_unfinished), (None, false));
    assert_eq!(counted.current.malformed[0].key, "/registry/secrets/ns/a");
}

/// A new etcd keeps small buckets inside the tree of buckets.
#[test]
fn inline_buckets_and_compactions_are_read() {
    let keys = [entry(&Written { revision: 5, key: "/registry/pods/a", value: Some(b"{}") })];
    let revision = |main: u64| [&main.to_be_bytes()[..], b"_", &[0; 8]].concat();
    let meta = |finished, scheduled| {
        let finished = (b"finishedCompactRev".to_vec(), revision(finished), 0);
        let scheduled = (b"scheduledCompactRev".to_vec(), revision(scheduled), 0);
        let term = (b"term".to_vec(), vec![0; 8], 0);
        [finished, scheduled, term]
    };
    for (finished, scheduled, last, unfinished) in [(4, 4, 5, false), (9, 9, 9, false), (3, 4, 5, true)] {
        let file = BboltFile::new(Cursor::new(Vec::new()), 4096);
        let buckets = vec![inline_bucket("key", &keys), inline_bucket("meta", &meta(finished, scheduled))];
        let snapshot = Snapshot::from_bytes(file.finish(buckets).into_inner()).expect("opens");
        let counted = snapshot_inventory(&snapshot, &Layout::default(), &[]).expect("counted");
        assert_eq!((counted.current.objects, counted.current.last_revision), (1, Some(last)));
        assert_eq!(counted.history.compacted_revision, Some(scheduled as i64));
        assert_eq!(counted.history.compaction_unfinished, unfinished);
    }
    let file = BboltFile::new(Cursor::new(Vec::new()), 4096);
    let empty = file.finish(vec![inline_bucket("key", &[])]).into_inner();
    let counted = snapshot_inventory(&Snapshot::from_bytes(empty).expect("opens"), &Layout::default(), &[]);
    assert_eq!(counted.expect("counted").current.last_revision, Some(1));
}

#[test]
fn hash_is_told_from_pages_and_checked() {
    let bytes = database(4096, &[Written { revision: 2, key: "/registry/a", value: Some(b"{}") }]);
    let check = |bytes: Vec<u8>| Snapshot::from_bytes(bytes).expect("opens").check_hash().expect("read");
    assert_eq!(check(bytes.clone()), HashCheck::Absent);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let mut saved = [&bytes, hash.as_ref()].concat();
    assert_eq!(check(saved.clone()), HashCheck::Matches);
    // In a place that no reader looks at.
    saved[3 * 4096 - 1] ^= 1;
    assert_eq!(check(saved), HashCheck::Differs);
}

/// The newer meta page counts where both are good, and the good one where the other is torn.
#[test]
fn meta_pages_are_chosen_as_bbolt_does() {
    for page_size in [1024, 4096] {
        let good = database(page_size, &[Written { revision: 2, key: "/registry/a", value: Some(b"{}") }]);
        for (torn, other) in [(0, page_size), (page_size, 0)] {
            let mut bytes = good.clone();
            bytes[torn + 16 + 40] ^= 1;
            assert_eq!(current(&bytes).len(), 1, "the one at {torn} is torn");
            bytes[other + 16 + 40] ^= 1;
            assert_eq!(
                error(bytes),
                (
                    "both meta pages of the file are damaged: their checksums are wrong".into(),
                    ErrorClass::Corrupt
                )
            );
        }
        // The page at 0 wins with a higher transaction: its root is out of the file.
        let mut bytes = good.clone();
        let newer = crate::bbolt_file::meta_page(0, page_size, 99, 4, 8);
        bytes[..page_size].copy_from_slice(&newer);
        assert!(error(bytes).0.contains("page 99 of the file is damaged"), "{page_size}");
    }
}

#[test]
fn other_files_are_called_what_they_are() {
    let tar = [&[b'a'; 257][..], b"ustar"].concat();
    for (bytes, words) in [
        (&b""[..], "an empty file"),
        (b"{\"kind\": \"List\"}\n", "JSON"),
        (b"\n [1]", "JSON"),
        (b"apiVersion: v1\n", "text"),
        (b"\x1f\x8b\x08\0\0\0", "a gzip file, which has to be unpacked first"),
        (b"PK\x03\x04", "a zip file"),
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"SQLite format 3\0", "a SQLite database"),
        (b"\x04\0\0\0\0\0\0\x84\x08\x04\x10\0", "etcd's write-ahead log"),
        (&tar, "a tar file"),
        (&[0; 10_000], "nor etcd's database"),
        (b"\x80", "not an etcd snapshot"),
    ] {
        let (text, class) = error(bytes.to_vec());
        assert!(text.contains(words) && class == ErrorClass::Invalid, "{text}");
    }
    let foreign = BboltFile::new(Cursor::new(Vec::new()), 4096).finish(vec![bucket("users", 2)]).into_inner();
    assert_eq!(error(foreign).1, ErrorClass::Invalid);
    let mut other = database(4096, &[]);
    for page in [0, 4096] {
        other[page + 20] = 3;
    }
    assert!(error(other.clone()).0.contains("version 3"));
    for page in [0, 4096] {
        other[page + 16..page + 20].reverse();
    }
    assert!(error(other).0.contains("big-endian"));
}

#[test]
fn cut_files_say_how_much_is_missing() {
    let bytes = database(4096, &[Written { revision: 2, key: "/registry/a", value: Some(b"{}") }]);
    for length in [8192, bytes.len() - 1] {
        let (text, class) = error(bytes[..length].to_vec());
        assert_eq!(text, format!("the file is cut off: it has {length} bytes of {}", bytes.len()));
        assert_eq!(class, ErrorClass::Corrupt);
    }
}

#[test]
fn directories_and_files_in_use_are_refused_with_the_way_out() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let text = |path: &std::path::Path| Snapshot::open(path).err().expect("refused").to_string();
    assert!(text(directory.path()).contains("member/snap/db of etcd's data directory"));
    let data = directory.path().join("etcd");
    std::fs::create_dir_all(data.join("member/snap")).expect("made");
    let path = data.join("member/snap/db");
    std::fs::write(&path, database(4096, &[])).expect("written");
    for inside in [data.clone(), data.join("member"), data.join("member/snap")] {
        assert!(text(&inside).contains(&*path.to_string_lossy()), "{}", text(&inside));
    }
    let held = std::fs::File::open(&path).expect("opens");
    held.lock().expect("locked");
    assert!(matches!(Snapshot::open(&path), Err(SnapshotError::InUse)));
    held.unlock().expect("unlocked");

    // An etcd that starts while the file is read: the lock is free for it, and the reader notices.
    let snapshot = Snapshot::open(&path).expect("opens");
    held.try_lock().expect("nobody holds a lock");
    let mut bytes = database(4096, &[]);
    bytes[..4096].copy_from_slice(&crate::bbolt_file::meta_page(0, 4096, 3, 4, 8));
    std::fs::write(&path, bytes).expect("written");
    assert!(matches!(snapshot.for_each(|_| ()), Err(SnapshotError::Changed)));
    assert_eq!(
        Snapshot::open(&directory.path().join("none")).err().expect("missing").class(),
        ErrorClass::NotFound
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any history, against a map that holds it all.
    #[test]
    fn newest_revision_of_each_key_is_current(
        history in prop::collection::vec((0..20_u8, prop::option::weighted(0.8, 0..400_usize)), 0..200),
        page_size in prop::sample::select(vec![1024_usize, 4096]),
    ) {
        let keys: Vec<String> = history.iter().map(|(key, _)| format!("/registry/{key}")).collect();
        let values: Vec<Option<Vec<u8>>> =
            history.iter().map(|(_, size)| size.map(|size| vec![b'v'; size])).collect();
        let written: Vec<Written<'_>> = (2..)
            .zip(keys.iter().zip(&values))
            .map(|(revision, (key, value))| Written { revision, key, value: value.as_deref() })
            .collect();
        let mut newest = std::collections::BTreeMap::new();
        for write in &written {
            newest.insert(write.key, write);
        }
        let mut expected: Vec<_> = newest
            .values()
            .filter_map(|it| Some((it.key.to_owned(), it.value?.len(), it.revision as i64)))
            .collect();
        expected.sort_by_key(|it| std::cmp::Reverse(it.2));
        prop_assert_eq!(current(&database(page_size, &written)), expected);
    }
}

/// Key, size and revision of what is current, the newest first.
pub(super) fn current(bytes: &[u8]) -> Vec<(String, usize, i64)> {
    let mut found = Vec::new();
    let add = |stored: StoredRevision<'_>| {
        if stored.age == Age::Current {
            let key = String::from_utf8(stored.key.to_vec()).expect("UTF-8");
            found.push((key, stored.value.len(), stored.revision));
        }
    };
    Snapshot::from_bytes(bytes.to_vec()).expect("opens").for_each(add).expect("read");
    found
}

/// What is said of a file that cannot be read.
pub(super) fn error(bytes: Vec<u8>) -> (String, ErrorClass) {
    let error = match Snapshot::from_bytes(bytes) {
        Err(error) => error,
        Ok(snapshot) => snapshot.for_each(|_| ()).expect_err("not readable"),
    };
    (error.to_string(), error.class())
}
