mod place;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keystead_crypto::{Secret32, hkdf_sha256, sha256};
use keystead_model::{CryptoKey, CryptoKeyVersion, ErrorClass, VersionState};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard};

pub(crate) use place::Place;

use crate::KmsError;
use crate::root::{VersionId, private_file};
use place::{at, make};

/// Longest file of a version, in bytes: a key with 64 long labels has 9 KiB.
const MAX_FILE_LEN: usize = 64 * 1024;
/// Of the marker of a place, in bytes: no two servers ever have the same.
const IDENTITY_LEN: usize = 16;
/// How long a place may take to follow a change: a file system that hangs must not hold up the emergency brake.
const FOLLOW_LIMIT: Duration = Duration::from_secs(2);
/// And a new version: it is not made then.
const KEEP_LIMIT: Duration = Duration::from_secs(10);

/// Places in which every key version is kept besides the database, one file each:
/// `versions/UID/NUMBER-DIGEST.json`. A version is committed only when it is in all of them.
///
/// The digest of the material is in the name because two calls may make the same number at once: the one that commits
/// removes what the other left.
///
/// A place is marked when it is first used, so that an empty directory, where a mount went away, is not taken for it. What a place
/// has missed is written when it is back, see `complete.rs`.
pub(crate) struct Destinations {
    places: Vec<Arc<Place>>,
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
    /// Marks each that was not used before. `used`: the directories that were.
    pub(crate) fn open(directories: &[PathBuf], used: &[String], store_key: &Secret32) -> io::Result<Self> {
        let identity = identity(store_key)?;
        let open = |directory: &PathBuf| {
            let used_before = used.contains(&directory.display().to_string());
            Place::open(directory, &identity, used_before).map(Arc::new)
        };
        let places = directories.iter().map(open).collect::<io::Result<_>>()?;
        Ok(Self { places, turn: Arc::default() })
    }

    /// There are none: whatever is newer than the last backup is only on this machine.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn places(&self) -> &[Arc<Place>] {
        &self.places
    }

    /// Writes versions into every place, durably. One that cannot be reached makes no version.
    pub(crate) async fn keep(&self, versions: &[KeptVersion]) -> Result<(), KmsError> {
        // A commit that makes no version goes on while a place is away.
        if versions.is_empty() {
            return Ok(());
        }
        let versions = versions.to_vec();
        let written =
            self.in_each(move |directory| versions.iter().try_for_each(|version| write(directory, version)));
        let written = tokio::time::timeout(KEEP_LIMIT, written).await.unwrap_or_else(|_| {
            let text = format!("no answer within {} s to a new version", KEEP_LIMIT.as_secs());
            self.doubt(&text);
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        });
        written.map_err(|error| {
            tracing::error!(%error, "a new key version cannot be kept in every backup destination");
            let text = "the new key version cannot be written to every backup destination, so it is not made; the server's \
                        log says why";
            KmsError::new(ErrorClass::Unavailable, text)
        })
    }

    /// After the commit: removes what calls that were slower, or that crashed, have left of the same versions; notes that versions
    /// are disabled, scheduled for destruction, or as they were before, so that they come back as they are; and removes those that
    /// are destroyed. A place that cannot be reached, or not soon, does not hold up the emergency brake; it is logged, and compared
    /// when it answers.
    pub(crate) async fn follow(
        &self,
        made: &[KeptVersion],
        changed: Vec<(VersionId, CryptoKeyVersion)>,
        destroyed: &[VersionId],
    ) {
        if self.places.is_empty() || made.is_empty() && changed.is_empty() && destroyed.is_empty() {
            return;
        }
        let stay = made.iter().map(|version| (version.id(), Some(version.file_name())));
        let stay: Vec<_> = stay.chain(destroyed.iter().map(|id| (*id, None))).collect();
        let followed = async {
            let turn = self.turn().await;
            let follow = move |directory: &Path| {
                let _until_the_disk_is_done = &turn;
                stay.iter().try_for_each(|(id, stays)| remove_others(directory, *id, stays.as_deref()))?;
                for (id, version) in &changed {
                    for path in files_of(directory, *id)? {
                        let kept = KeptVersion { version: version.clone(), ..read_version(&path)? };
                        private_file::replace(&path, &serde_json::to_vec_pretty(&kept)?)?;
                    }
                }
                Ok(())
            };
            self.in_each(follow).await
        };
        let error = match tokio::time::timeout(FOLLOW_LIMIT, followed).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                let text = format!("no answer within {} s to a change", FOLLOW_LIMIT.as_secs());
                // Nobody knows which of them is slow.
                self.doubt(&text);
                text
            }
        };
        tracing::error!(
            error,
            "a backup destination does not know the new state of a key version, or still holds one that it should not; it is told \
             when it answers"
        );
    }

    /// Every place may lack something, and is compared.
    pub(crate) fn doubt(&self, reason: &str) {
        self.places.iter().for_each(|it| it.failed(format!("{}: {reason}", it.directory().display())));
    }

    /// Where there was no commit: removes what was written for it.
    pub(crate) async fn withdraw(&self, versions: &[KeptVersion]) {
        if versions.is_empty() {
            return;
        }
        let versions = versions.to_vec();
        let removed = self.in_each(move |directory| {
            versions.iter().try_for_each(|version| {
                ignore_missing(fs::remove_file(folder(directory, version.id()).join(version.file_name())))
            })
        });
        match tokio::time::timeout(FOLLOW_LIMIT, removed).await {
            Ok(removed) => log_leftover(removed),
            Err(_) => log_leftover(Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))),
        }
    }

    /// Whose turn it is ends when this is dropped.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Everything that the places hold, if all of them are there. A version of which they hold two is left out and logged: nobody can say which counts.
    pub(crate) async fn kept(&self) -> io::Result<Vec<KeptVersion>> {
        let places = self.places.clone();
        on_disk(move || {
            let mut kept: BTreeMap<VersionId, Vec<KeptVersion>> = BTreeMap::new();
            for version in places.iter().map(|place| place.ready().and_then(|_| place.with(everything))).collect::<io::Result<Vec<_>>>()? {
                for version in version {
                    let same = kept.entry(version.id()).or_default();
                    match same.iter_mut().find(|it| it.material == version.material) {
                        // A place that was away knows less: what was disabled or scheduled anywhere comes back so.
                        Some(known) if standing(&version) > standing(known) => known.version = version.version,
                        Some(_) => {}
                        None => same.push(version),
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

    /// Does something in every place, and answers with the first failure.
    async fn in_each(&self, work: impl Fn(&Path) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let places = self.places.clone();
        if places.is_empty() {
            return Ok(());
        }
        on_disk(move || {
            // All of them, also after a failure: the more places hold or forget it the better.
            places.iter().map(|place| place.with(&work)).fold(Ok(()), Result::and)
        })
        .await
    }
}

/// What marks the places of this server: the same for every machine that ever has its database, and no secret.
fn identity(store_key: &Secret32) -> io::Result<String> {
    let mut identity = [0; IDENTITY_LEN];
    hkdf_sha256(store_key.expose(), b"", b"keystead backup destination 1", &mut identity)
        .map_err(|_| io::Error::other("the identity of the server cannot be derived from its store key"))?;
    Ok(hex::encode(identity))
}

/// How far a version is on the way to its end.
fn standing(kept: &KeptVersion) -> u8 {
    match kept.version.state {
        VersionState::Enabled => 0,
        VersionState::Disabled => 1,
        VersionState::DestroyScheduled => 2,
        VersionState::Destroyed => 3,
    }
}

/// What a folder `versions` holds.
fn everything(versions: &Path) -> io::Result<Vec<KeptVersion>> {
    let mut kept = Vec::new();
    for folder in fs::read_dir(versions)? {
        for file in fs::read_dir(folder?.path())? {
            let path = file?.path();
            let finished = |name: &str| name.ends_with(".json") && private_file::unfinished(name).is_none();
            if name_of(&path).is_some_and(finished) {
                kept.push(read_version(&path)?);
            }
        }
    }
    Ok(kept)
}

/// What a place should hold of one version.
pub(super) enum Wanted {
    Kept(Box<KeptVersion>),
    Nothing(VersionId),
}

impl Wanted {
    /// Whether a folder `versions` holds this and nothing else of the version.
    pub(super) fn is_in(&self, versions: &Path) -> io::Result<bool> {
        let (id, kept) = self.parts();
        let Some(kept) = kept else { return Ok(all_files_of(versions, id)?.is_empty()) };
        let files = files_of(versions, id)?;
        // The record of the key counts as of when the file was written. A file that cannot be read is written again.
        let same = |path: &PathBuf| {
            read_version(path).is_ok_and(|it| it.version == kept.version && it.material == kept.material)
        };
        Ok(files == [folder(versions, id).join(kept.file_name())] && files.iter().all(same))
    }

    /// Writes it, and removes whatever else is there of the version: what calls have left that were never answered.
    pub(super) fn put_into(&self, versions: &Path) -> io::Result<()> {
        let (id, kept) = self.parts();
        if let Some(kept) = kept {
            write(versions, kept)?;
        }
        remove_others(versions, id, kept.map(KeptVersion::file_name).as_deref())
    }

    fn parts(&self) -> (VersionId, Option<&KeptVersion>) {
        match self {
            Self::Kept(kept) => (kept.id(), Some(kept)),
            Self::Nothing(id) => (*id, None),
        }
    }
}

fn write(versions: &Path, kept: &KeptVersion) -> io::Result<()> {
    let folder = folder(versions, kept.id());
    make(&folder)?;
    private_file::replace(&folder.join(kept.file_name()), &serde_json::to_vec_pretty(kept)?)
}

/// Removes all files of a version but one.
fn remove_others(versions: &Path, id: VersionId, stays: Option<&str>) -> io::Result<()> {
    let mut removed = false;
    // While the version is there, a call may be about to write it that will hear that its number is taken.
    let files = if stays.is_some() { files_of(versions, id) } else { all_files_of(versions, id) };
    for path in files? {
        if name_of(&path) != stays {
            ignore_missing(fs::remove_file(path))?;
            removed = true;
        }
    }
    if removed {
        fs::File::open(folder(versions, id))?.sync_all()?;
    }
    Ok(())
}

fn folder(directory: &Path, id: VersionId) -> PathBuf {
    directory.join(hex::encode(id.uid.0))
}

/// The files of one version: more than one only where two calls made the same number at once.
fn files_of(directory: &Path, id: VersionId) -> io::Result<Vec<PathBuf>> {
    let mut files = all_files_of(directory, id)?;
    files.retain(|path| name_of(path).is_some_and(|name| private_file::unfinished(name).is_none()));
    Ok(files)
}

/// And those that a killed process, or a place that does not answer, has left unfinished: they hold the material too.
fn all_files_of(directory: &Path, id: VersionId) -> io::Result<Vec<PathBuf>> {
    let folder = folder(directory, id);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(&folder))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let Some(name) = name_of(&path) else { continue };
        let name = private_file::unfinished(name).unwrap_or(name);
        if name.starts_with(&prefix(id)) && name.ends_with(".json") {
            files.push(path);
        }
    }
    Ok(files)
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|it| it.to_str())
}

fn read_version(path: &Path) -> io::Result<KeptVersion> {
    let read = private_file::read(path, MAX_FILE_LEN).map_err(at(path))?;
    serde_json::from_slice(&read).map_err(io::Error::from).map_err(at(path))
}

fn prefix(id: VersionId) -> String {
    format!("{:010}-", id.number.get())
}

fn ignore_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn log_leftover(removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::error!(%error, "a backup destination still holds a key version that it should not, until it can be removed there");
    }
}

/// Runs what waits for a disk where it holds up nobody.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
