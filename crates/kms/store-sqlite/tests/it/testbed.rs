//! A folder with a store in it.

use std::path::{Path, PathBuf};

use keystead_store::{Batch, Revision, Store};
use keystead_store_sqlite::{SqliteSettings, SqliteStore};
use tempfile::TempDir;

pub(crate) struct Testbed {
    folder: TempDir,
    pub(crate) settings: SqliteSettings,
}

impl Testbed {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), settings: settings() }
    }

    /// In a folder below one that exists.
    pub(crate) fn within(folder: &Path) -> Self {
        Self { folder: tempfile::tempdir_in(folder).unwrap(), settings: settings() }
    }

    /// The store's own folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.data().join("keystead.db")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), self.settings.clone()).unwrap()
    }

    /// Files of the store that contain these bytes.
    pub(crate) fn files_with(&self, bytes: &[u8]) -> Vec<String> {
        let files = std::fs::read_dir(self.data()).unwrap().map(|file| file.unwrap());
        files
            .filter(|file| contains(&std::fs::read(file.path()).unwrap(), bytes))
            .map(|file| file.file_name().into_string().unwrap())
            .collect()
    }

    /// Copies the store as a power cut would leave it: without telling anybody.
    pub(crate) fn copy_to(&self, other: &Self) {
        make_folder(&other.data());
        for file in std::fs::read_dir(self.data()).unwrap() {
            let file = file.unwrap();
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                std::fs::copy(file.path(), other.data().join(file.file_name())).unwrap();
            }
        }
    }
}

pub(crate) fn make_folder(path: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path).unwrap();
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

pub(crate) async fn put(store: &SqliteStore, name: &str, value: &[u8]) -> Revision {
    store.commit(Batch::default().put(name, value.to_vec())).await.unwrap()
}

pub(crate) async fn value(store: &SqliteStore, name: &str) -> Option<Vec<u8>> {
    store.get(name).await.unwrap().map(|entry| entry.value)
}

/// The same numbers in every run, without a generator's crate: xorshift64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// An erasure begins as soon as nothing else is to be done for a moment.
fn settings() -> SqliteSettings {
    SqliteSettings { erase_delay: std::time::Duration::from_millis(5), ..SqliteSettings::default() }
}
