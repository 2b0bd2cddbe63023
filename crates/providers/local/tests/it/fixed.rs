//! A key file in a directory of its own, and what tests do with one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use keystead_crypto::{Secret32, SystemRandom, sha256};
use keystead_provider_local::{KeyFile, LocalProvider, create};
use tempfile::TempDir;

pub(crate) const NOW: &str = "2026-01-31T12:00:00Z";

/// Is removed with the test.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory") }
    }

    /// With a key file of one version.
    pub(crate) fn with_key_file() -> Self {
        let place = Self::new();
        create(&place.key_file(), &fresh()).expect("created");
        place
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path("kek")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn provider(&self) -> LocalProvider {
        LocalProvider::open(&self.key_file(), Arc::new(SystemRandom)).expect("opened")
    }

    /// What is in the directory beside the key file and its lock.
    pub(crate) fn others(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("directory");
        let names = entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "kek" && name != "kek.lock").collect()
    }
}

pub(crate) fn fresh() -> KeyFile {
    KeyFile::generate(NOW, &SystemRandom).expect("generated")
}

/// A key file with versions 1, 2 and 3, of which 2 is primary.
pub(crate) fn three_versions() -> KeyFile {
    let mut file = fresh();
    for number in [2, 3] {
        assert_eq!(file.add(NOW, &SystemRandom), Ok(number));
    }
    file.promote(2).expect("promoted");
    file
}

/// As a program of before fingerprints would have written it.
pub(crate) fn of_format_1(file: &KeyFile) -> KeyFile {
    let body = body(file).replacen("keystead-key-file 2", "keystead-key-file 1", 1);
    let lines = body.lines().filter(|line| !line.starts_with("removed "));
    let lines: Vec<String> = lines
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["version", number, created, key, _] => format!("version {number} {created} {key}"),
            _ => line.to_owned(),
        })
        .collect();
    KeyFile::parse(with_digest(&format!("{}\n", lines.join("\n"))).as_bytes()).expect("format 1")
}

pub(crate) fn numbers(file: &KeyFile) -> Vec<u32> {
    file.versions().iter().map(|version| version.version).collect()
}

pub(crate) fn key() -> Secret32 {
    Secret32::generate(&SystemRandom).expect("random bytes")
}

/// The body's own digest under it, so that a test reaches what stands behind the check of the digest.
pub(crate) fn with_digest(body: &str) -> String {
    format!("{body}sha256 {}\n", hex::encode(sha256(body.as_bytes())))
}

/// A good file's text without its last line.
pub(crate) fn body(file: &KeyFile) -> String {
    let text = file.print();
    let (body, _) = text.split_at(text.rfind("sha256 ").expect("a digest"));
    body.to_owned()
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode set");
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("metadata").permissions().mode() & 0o7777
}

pub(crate) fn make_fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("FIFO made");
}

/// Answers what `work` answers, and fails instead of waiting for ever.
pub(crate) fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(20)).expect("it hangs")
}
