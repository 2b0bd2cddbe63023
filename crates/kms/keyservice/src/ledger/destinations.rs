mod place;

use std::collections::BTreeMap;
use std::fs;
use std::future::{Future, ready};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use keystead_crypto::{Secret32, hkdf_sha256, sha256};
use keystead_model::{CryptoKey, CryptoKeyVersion, ErrorClass, KeyUid, VersionState};
use serde::{Deserialize, Serialize};

pub(crate) use place::Place;

use crate::KmsError;
use crate::root::{VersionId, private_file};
use place::{at, make};

/// Longest file of a version, in bytes: a key with 64 long labels has 9 KiB.
const MAX_FILE_LEN: usize = 64 * 1024;
/// Of the marker of a place, in bytes: no two servers ever have the same.
const IDENTITY_LEN: usize = 16;
/// The end of the name of a version's file that is not committed, or not known to be.
const PENDING: &str = ".pending";
/// How long a place may take to follow a change: a file system that hangs must not hold up the emergency brake.
pub(super) const FOLLOW_LIMIT: Duration = Duration::from_secs(2);
/// And a new version: it is not made then.
const KEEP_LIMIT: Duration = Duration::from_secs(10);

/// Places in which every key version is kept besides the database, one file each:
/// `versions/UID/NUMBER-DIGEST.json`. A version is committed only when it is in all of them, and until then its file ends in
/// `.pending`: what a process that was killed left of a version that nobody was told of must not win over one that counts.
///
/// The digest of the material is in the name because two calls may make the same number at once: the one that commits
/// removes what the other left.
///
/// A place is marked when it is first used, so that an empty directory, where a mount went away, is not taken for it. What a place
/// has missed is written when it is back, see `complete.rs`.
pub(crate) struct Destinations {
    places: Vec<Arc<Place>>,
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

    /// What its file is called until it is committed.
    fn pending_name(&self) -> String {
        self.file_name() + PENDING
    }
}

impl Destinations {
    /// Marks each that was not used before. `used`: the directories that were, as far as this database knows. `restored`: it is an
    /// older one, so that a directory without a marker may have been one all the same.
    pub(crate) fn open(
        directories: &[PathBuf],
        used: &[String],
        restored: bool,
        store_key: &Secret32,
    ) -> io::Result<Self> {
        let identity = identity(store_key)?;
        let open = |directory: &PathBuf| {
            let used_before = used.contains(&directory.display().to_string());
            Place::open(directory, &identity, used_before, restored).map(Arc::new)
        };
        let places = directories.iter().map(open).collect::<io::Result<_>>()?;
        Ok(Self { places })
    }

    /// There are none: whatever is newer than the last backup is only on this machine.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn places(&self) -> &[Arc<Place>] {
        &self.places
    }

    /// Writes versions into every place, durably, as pending. One that cannot be reached makes no version.
    pub(crate) async fn keep(&self, versions: &[KeptVersion]) -> Result<(), KmsError> {
        // A commit that makes no version goes on while a place is away.
        if versions.is_empty() {
            return Ok(());
        }
        let pending = |versions: Vec<KeptVersion>| {
            move |folder: &Path| versions.iter().try_for_each(|it| write(folder, it, &it.pending_name()))
        };
        self.in_each(KEEP_LIMIT, || ready(Ok(pending(versions.to_vec())))).await.map_err(|error| {
            tracing::error!(%error, "a new key version cannot be kept in every backup destination");
            let text = "the new key version cannot be written to every backup destination, so it is not made; the server's \
                        log says why";
            KmsError::new(ErrorClass::Unavailable, text)
        })
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
        let remove = |versions: Vec<KeptVersion>| {
            move |directory: &Path| {
                versions.iter().try_for_each(|version| {
                    let path = folder(directory, version.id()).join(version.pending_name());
                    ignore_missing(fs::remove_file(path))
                })
            }
        };
        let removed = self.in_each(FOLLOW_LIMIT, || ready(Ok(remove(versions.to_vec())))).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "a backup destination holds a key version as pending that was not made");
        }
    }

    /// Everything that the places hold, if all of them are there, by key; keys of which all is pending last.
    pub(crate) async fn kept(&self) -> io::Result<Vec<KeptKey>> {
        let places = self.places.clone();
        on_disk(move || {
            let mut found: BTreeMap<VersionId, Vec<Found>> = BTreeMap::new();
            for place in places {
                place.ready()?;
                for file in place.with(everything)? {
                    add(found.entry(file.version.id()).or_default(), file);
                }
            }
            let mut keys: BTreeMap<KeyUid, Vec<Vec<Found>>> = BTreeMap::new();
            for (id, same) in found {
                keys.entry(id.uid).or_default().push(same);
            }
            let (committed, pending): (Vec<_>, Vec<_>) =
                keys.into_values().partition(|key| key.iter().flatten().any(|it| !it.is_pending));
            Ok(committed.into_iter().chain(pending).map(kept_key).collect())
        })
        .await
    }

    /// Does something in every place at once, each in its own turn, and answers with a failure if there was one: the more places
    /// hold or forget a version the better. `work` says in a place's turn what to do there.
    pub(super) async fn in_each<W, F>(&self, limit: Duration, work: impl Fn() -> F) -> io::Result<()>
    where
        W: FnOnce(&Path) -> io::Result<()> + Send + 'static,
        F: Future<Output = io::Result<W>>,
    {
        let asked = self.places.iter().map(|place| place.ask(limit, work()));
        join_all(asked).await.into_iter().fold(Ok(()), Result::and)
    }
}

/// What the places hold of one key.
#[derive(Default)]
pub(crate) struct KeptKey {
    /// In the order of their numbers.
    pub(crate) versions: Vec<KeptVersion>,
    /// One file of each version of which the places hold two materials: nobody can say which counts, so that it does not come
    /// back. Its number was given all the same.
    pub(crate) left_out: Vec<KeptVersion>,
}

/// A file of a version, as it was read.
struct Found {
    version: KeptVersion,
    is_pending: bool,
}

/// Adds what one place holds of a version to what others do.
fn add(same: &mut Vec<Found>, file: Found) {
    let Some(known) = same.iter_mut().find(|it| it.version.material == file.version.material) else {
        return same.push(file);
    };
    known.is_pending &= file.is_pending;
    // A place that was away knows less: what was disabled or scheduled anywhere comes back so.
    if standing(&file.version) > standing(&known.version) {
        known.version.version = file.version.version;
    }
}

/// Of the materials of each version the one that counts: the committed one, or else the only one.
fn kept_key(found: Vec<Vec<Found>>) -> KeptKey {
    let mut key = KeptKey::default();
    for mut same in found {
        if same.iter().any(|it| !it.is_pending) {
            same.retain(|it| !it.is_pending);
        }
        let Some(Found { version: last, .. }) = same.pop() else { continue };
        if same.is_empty() {
            key.versions.push(last);
        } else {
            let version = &last.version.name;
            tracing::error!(%version, "the backup destinations hold two materials for it; neither comes back");
            key.left_out.push(last);
        }
    }
    key
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
fn everything(versions: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(versions)? {
        for file in fs::read_dir(folder?.path())? {
            let path = file?.path();
            let name = name_of(&path).filter(|name| private_file::unfinished(name).is_none());
            let is_pending = name.is_some_and(|name| name.ends_with(PENDING));
            if is_pending || name.is_some_and(|name| name.ends_with(".json")) {
                found.push(Found { version: read_version(&path)?, is_pending });
            }
        }
    }
    Ok(found)
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
        let files = files_of(versions, id)?;
        let Some(kept) = kept else { return Ok(files.is_empty()) };
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
            write(versions, kept, &kept.file_name())?;
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

fn write(versions: &Path, kept: &KeptVersion, name: &str) -> io::Result<()> {
    let folder = folder(versions, kept.id());
    make(&folder)?;
    private_file::replace(&folder.join(name), &serde_json::to_vec_pretty(kept)?)
}

/// Removes all files of a version but one.
fn remove_others(versions: &Path, id: VersionId, stays: Option<&str>) -> io::Result<()> {
    let mut removed = false;
    for path in files_of(versions, id)? {
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

/// The files of one version: more than one only where two calls made the same number at once, or where a process was killed, or a
/// place did not answer: what that has left unfinished holds the material too.
fn files_of(directory: &Path, id: VersionId) -> io::Result<Vec<PathBuf>> {
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
        if name.starts_with(&prefix(id)) {
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

/// Runs what waits for a disk where it holds up nobody.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
