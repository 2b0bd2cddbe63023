//! What a file is that is no snapshot, by its first bytes.

use std::path::Path;

use super::error::NotASnapshot;
use crate::bbolt::Source;

/// Looks at the beginning of a file that may be anything.
pub(super) fn look_at(source: &dyn Source) -> NotASnapshot {
    let size = source.size().unwrap_or_default();
    let mut beginning = vec![0; usize::try_from(size).unwrap_or(BEGINNING).min(BEGINNING)];
    if source.read_at(&mut beginning, 0).is_err() {
        return NotASnapshot::Unknown;
    }
    if beginning.is_empty() {
        return NotASnapshot::LooksLike("an empty file");
    }
    let known =
        KINDS.iter().find(|(at, magic, _)| beginning.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    if let Some((_, _, kind)) = known {
        return NotASnapshot::LooksLike(kind);
    }
    let text = std::str::from_utf8(&beginning)
        .is_ok_and(|text| text.chars().all(|letter| !letter.is_control() || letter.is_ascii_whitespace()));
    match (text, beginning.trim_ascii_start().first()) {
        (true, Some(b'{' | b'[')) => NotASnapshot::LooksLike("JSON"),
        (true, _) => NotASnapshot::LooksLike("text"),
        (false, _) => NotASnapshot::Unknown,
    }
}

/// Finds the database in a directory of etcd's: the data directory, `member` or `member/snap` in it.
pub(super) fn directory(path: &Path) -> NotASnapshot {
    let candidates = ["member/snap/db", "snap/db", "db"].map(|name| path.join(name));
    NotASnapshot::Directory { database: candidates.into_iter().find(|it| it.is_file()) }
}

/// What people have beside snapshots, or make of them. Where the bytes begin, what they are, and what that is.
const KINDS: [(usize, &[u8], &str); 9] = [
    (0, &[0x1f, 0x8b], "a gzip file, which has to be unpacked first"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "a zstd file, which has to be unpacked first"),
    (0, &[0xfd, b'7', b'z', b'X', b'Z'], "an xz file, which has to be unpacked first"),
    (0, b"BZh", "a bzip2 file, which has to be unpacked first"),
    // k3s and RKE2 with `--etcd-snapshot-compress`.
    (0, b"PK\x03\x04", "a zip file, which has to be unpacked first"),
    (257, b"ustar", "a tar file, which has to be unpacked first"),
    // k3s without etcd.
    (0, b"SQLite format 3\0", "a SQLite database; a cluster that stores in SQLite has no etcd"),
    // The first record of each: a frame of 4 bytes with padding, and a record of the type 4, a checksum.
    (0, &[0x04, 0, 0, 0, 0, 0, 0, 0x84], "etcd's write-ahead log; the database is member/snap/db"),
    (0, b"\x7fELF", "a program"),
];

const BEGINNING: usize = 512;
