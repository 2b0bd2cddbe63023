use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keystead_crypto::sha256;
use keystead_model::{CryptoKey, CryptoKeyVersion, ErrorClass};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::KmsError;
use crate::root::{VersionId, private_file};

/// Longest file of a version, in bytes: a key with 64 long labels has 9 KiB.
const MAX_FILE_LEN: usize = 64 * 1024;
/// How long a place may take to note a new state: a file system that hangs must not hold up the emergency brake.
const NOTE_LIMIT: Duration = Duration::from_secs(2);

/// Places in which every key version is kept besides the database, one file each:
/// `versions/UID/NUMBER-DIGEST.json`. A version is committed only when it is in all of them.
///
/// The digest of the material is in the name because two calls may make the same number at once: the one that commits
/// removes what the other left.
pub(crate) struct Destinations {
    directories: Arc<[PathBuf]>,
    /// Whose turn it is to change files that are there: a slow note of a state must not bring back a version that was forgotten
    /// meanwhile, or a state that another has followed. Kept until the disk is done, whoever waits for it.
    turn: Arc<Mutex<()>>,
}

/// A version with all that it takes to bring it back: with the root key and the store key, and with nothing less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptVersion {
    pub(crate) key: CryptoKey,
    pub(crate) version: CryptoKeyVersion,
    /// Sealed under the store key, hexadecimal.
    pub(crate) material: String,
}

impl KeptVersion {
    pub(crate) fn id(&self) -> VersionId {
        VersionId { uid: self.key.uid, number: self.version.name.version }
    }

    fn file_name(&self) -> String {
        let [a, b, c, d, ..] = sha256(self.material.as_bytes());
        format!("{}{}.json", prefix(self.id()), hex::encode([a, b, c, d]))
    }
}

impl Destinations {
    /// Makes the folder `versions` in each.
    pub(crate) fn open(directories: &[PathBuf]) -> io::Result<Self> {
        let directories: Arc<[PathBuf]> = directories.iter().map(|it| it.join("versions")).collect();
        for directory in &*directories {
            make(directory).map_err(at(directory))?;
        }
        Ok(Self { directories, turn: Arc::default() })
    }

    /// There are none: whatever is newer than the last backup is only on this machine.
    pub(crate) fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// Writes versions into every place, durably. One that cannot be reached makes no version.
    pub(crate) async fn keep(&self, versions: &[KeptVersion]) -> Result<(), KmsError> {
        let versions = versions.to_vec();
        self.in_each(move |directory| {
            for version in &versions {
                let folder = folder(directory, version.id());
                make(&folder)?;
                private_file::replace(&folder.join(version.file_name()), &serde_json::to_vec_pretty(version)?)?;
            }
            Ok(())
        })
        .await
        .map_err(|error| {
            tracing::error!(%error, "a new key version cannot be kept in every backup destination");
            let text = "the new key version cannot be written to every backup destination, so it is not made; the server's \
                        log says why";
            KmsError::new(ErrorClass::Unavailable, text)
        })
    }

    /// After the commit: removes what calls that were slower, or that crashed, have left of the same versions.
    pub(crate) async fn settle(&self, versions: &[KeptVersion]) {
        let stay: Vec<_> = versions.iter().map(|version| (version.id(), Some(version.file_name()))).collect();
        self.remove(stay).await;
    }

    /// After the commit: notes that versions are disabled, scheduled for destruction, or as they were before, so that they come back
    /// as they are. A place that cannot be reached, or not soon, does not hold up the emergency brake; it is logged.
    pub(crate) async fn note_states(&self, versions: Vec<(VersionId, CryptoKeyVersion)>) {
        if versions.is_empty() {
            return;
        }
        let noted = async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let note = move |directory: &Path| {
                let _until_the_disk_is_done = &turn;
                for (id, version) in &versions {
                    for path in files_of(directory, *id)? {
                        let kept = KeptVersion { version: version.clone(), ..read_version(&path)? };
                        private_file::replace(&path, &serde_json::to_vec_pretty(&kept)?)?;
                    }
                }
                Ok(())
            };
            self.in_each(note).await
        };
        let error = match tokio::time::timeout(NOTE_LIMIT, noted).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", NOTE_LIMIT.as_secs()),
        };
        tracing::error!(
            error,
            "a backup destination does not know the new state of a key version, and would bring it back in the old one"
        );
    }

    /// After a commit that somebody else's prevented: removes what was written for it.
    pub(crate) async fn withdraw(&self, versions: &[KeptVersion]) {
        let versions = versions.to_vec();
        let removed = self.in_each(move |directory| {
            versions.iter().try_for_each(|version| {
                ignore_missing(fs::remove_file(folder(directory, version.id()).join(version.file_name())))
            })
        });
        log_leftover(removed.await);
    }

    /// Removes versions that are destroyed. A place that cannot be reached keeps its copy, which is logged.
    pub(crate) async fn forget(&self, versions: &[VersionId]) {
        self.remove(versions.iter().map(|id| (*id, None)).collect()).await;
    }

    /// Everything that the places hold. A version of which they hold two is left out and logged: nobody can say which counts.
    pub(crate) async fn kept(&self) -> io::Result<Vec<KeptVersion>> {
        let directories = Arc::clone(&self.directories);
        on_disk(move || {
            let mut kept: BTreeMap<VersionId, Vec<KeptVersion>> = BTreeMap::new();
            for directory in &*directories {
                for folder in fs::read_dir(directory).map_err(at(directory))? {
                    for file in fs::read_dir(folder?.path())? {
                        let path = file?.path();
                        if path.extension().is_none_or(|extension| extension != "json") {
                            continue;
                        }
                        let version = read_version(&path)?;
                        let same = kept.entry(version.id()).or_default();
                        if same.iter().all(|it| it.material != version.material) {
                            same.push(version);
                        }
                    }
                }
            }
            let single = kept.into_values().filter_map(|mut same| match same.len() {
                1 => same.pop(),
                _ => {
                    let version = same.pop()?.version.name;
                    tracing::error!(%version, "the backup destinations hold two materials for it; neither comes back");
                    None
                }
            });
            Ok(single.collect())
        })
        .await
    }

    /// Removes all files of versions but the ones that are named.
    async fn remove(&self, versions: Vec<(VersionId, Option<String>)>) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let removed = self.in_each(move |directory| {
            let _until_the_disk_is_done = &turn;
            for (id, stays) in &versions {
                let mut removed = false;
                for path in files_of(directory, *id)? {
                    if path.file_name().and_then(|it| it.to_str()) != stays.as_deref() {
                        ignore_missing(fs::remove_file(path))?;
                        removed = true;
                    }
                }
                if removed {
                    fs::File::open(folder(directory, *id))?.sync_all()?;
                }
            }
            Ok(())
        });
        log_leftover(removed.await);
    }

    /// Does something in every place, and answers with the first failure.
    async fn in_each(&self, work: impl Fn(&Path) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let directories = Arc::clone(&self.directories);
        if directories.is_empty() {
            return Ok(());
        }
        on_disk(move || {
            let each = directories.iter().map(|directory| work(directory).map_err(at(directory)));
            // All of them, also after a failure: the more places hold or forget it the better.
            each.fold(Ok(()), Result::and)
        })
        .await
    }
}

fn folder(directory: &Path, id: VersionId) -> PathBuf {
    directory.join(hex::encode(id.uid.0))
}

/// The files of one version: more than one only where two calls made the same number at once.
fn files_of(directory: &Path, id: VersionId) -> io::Result<Vec<PathBuf>> {
    let folder = folder(directory, id);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(&folder))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|it| it.to_str());
        if name.is_some_and(|it| it.starts_with(&prefix(id)) && it.ends_with(".json")) {
            files.push(path);
        }
    }
    Ok(files)
}

fn read_version(path: &Path) -> io::Result<KeptVersion> {
    let read = private_file::read(path, MAX_FILE_LEN).map_err(at(path))?;
    serde_json::from_slice(&read).map_err(io::Error::from).map_err(at(path))
}

fn prefix(id: VersionId) -> String {
    format!("{:010}-", id.number.get())
}

fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| private_file::sync_directory_of(folder)),
    }
}

fn ignore_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn log_leftover(removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::error!(%error, "a backup destination still holds a key version that it should not; delete it there");
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Runs what waits for a disk where it holds up nobody.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
