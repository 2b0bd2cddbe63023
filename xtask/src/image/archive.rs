//! Tar files that say nothing about where, when or by whom they were made: the same files give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Files in an archive by their path there, relative and without `.` or `..`. A sorted map: the order in which they were
/// found cannot matter.
pub type Files = BTreeMap<String, File>;

#[derive(Clone)]
pub struct File {
    /// Permission bits only.
    pub mode: u32,
    pub content: Vec<u8>,
}

/// For directories: all of them, because a layer that names no parent leaves its owner and mode to whoever unpacks it.
const DIRECTORY_MODE: u32 = 0o755;

/// An uncompressed tar of `files` and their directories in the order of their paths, all owned by root and last changed
/// at `time`, in seconds since 1970. Paths past 100 bytes are written in GNU's way, which every container runtime reads.
pub fn tar(files: &Files, time: u64) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut made = BTreeSet::new();
    for (path, file) in files {
        let plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        ensure!(plain, "{path:?} is no path for an archive: relative, and without empty parts, `.` or `..`");
        for directory in parents(path) {
            if made.insert(directory) {
                let mut header = header(tar::EntryType::Directory, DIRECTORY_MODE, 0, time);
                builder.append_data(&mut header, format!("{directory}/"), std::io::empty())?;
            }
        }
        let size = file.content.len() as u64;
        let mut header = header(tar::EntryType::Regular, file.mode, size, time);
        builder.append_data(&mut header, path, file.content.as_slice()).with_context(|| path.clone())?;
    }
    Ok(builder.into_inner()?)
}

/// Writes the contents of `files` below `folder`, with the modes of the day.
pub fn unpacked(files: &Files, folder: &Path) -> Result<()> {
    for (name, file) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, &file.content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// `usr` and `usr/local` for `usr/local/program`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}

fn header(kind: tar::EntryType, mode: u32, size: u64, time: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(time);
    // Numbers only: a name would be looked up where it is unpacked.
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use sha2::{Digest, Sha256};

    use super::*;

    fn file(mode: u32, content: &str) -> File {
        File { mode, content: content.as_bytes().to_vec() }
    }

    fn sample() -> [(String, File); 3] {
        [
            ("usr/local/bin/program".to_owned(), file(0o755, "program")),
            ("usr/share/doc/LICENSE".to_owned(), file(0o644, "licence")),
            (format!("usr/{}/long", "n".repeat(120)), file(0o600, "")),
        ]
    }

    #[test]
    fn the_bytes_are_known() {
        let bytes = tar(&Files::from(sample()), 1_700_000_000).expect("an archive");
        let digest: String = Sha256::digest(&bytes).iter().map(|it| format!("{it:02x}")).collect();
        // If this changes, so does the digest of every image that was ever built: on purpose only.
        assert_eq!(digest, "ced6660a4df89632f33699b3725926daf4deaa1ca11d2c71bf2d7ce2ff67f133");
    }

    #[test]
    fn a_reader_finds_names_modes_owners_and_times() {
        let bytes = tar(&Files::from(sample()), 1_700_000_000).expect("an archive");
        let mut found = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let header = entry.header();
            assert_eq!((header.uid().expect("uid"), header.gid().expect("gid")), (0, 0));
            assert_eq!(header.mtime().expect("time"), 1_700_000_000);
            let mode = header.mode().expect("mode");
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("content");
            found.push((path, mode, content));
        }
        let entry = |path: &str, mode, content: &str| (path.to_owned(), mode, content.to_owned());
        let long = format!("usr/{}", "n".repeat(120));
        assert_eq!(
            found,
            [
                entry("usr/", 0o755, ""),
                entry("usr/local/", 0o755, ""),
                entry("usr/local/bin/", 0o755, ""),
                entry("usr/local/bin/program", 0o755, "program"),
                entry(&format!("{long}/"), 0o755, ""),
                entry(&format!("{long}/long"), 0o600, ""),
                entry("usr/share/", 0o755, ""),
                entry("usr/share/doc/", 0o755, ""),
                entry("usr/share/doc/LICENSE", 0o644, "licence"),
            ]
        );
    }

    #[test]
    fn a_path_that_leaves_the_archive_is_refused() {
        for path in ["/etc/passwd", "../escape", "a/../b", "a//b", "./a", ""] {
            assert!(tar(&Files::from([(path.to_owned(), file(0o644, ""))]), 0).is_err(), "{path}");
        }
    }
}
