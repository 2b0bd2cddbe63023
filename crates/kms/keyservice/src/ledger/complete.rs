//! What the backup destinations should hold: what has become of a version, versions that are older than a destination, and what
//! one has missed while it was away.

use std::io;
use std::path::Path;
use std::sync::Arc;

use keystead_model::{CryptoKey, CryptoKeyVersion, CryptoKeyVersionName, ErrorClass, VersionState};

use super::destinations::{FOLLOW_LIMIT, Place, Wanted, on_disk};
use super::{KeptVersion, Ledger};
use crate::KmsError;
use crate::records::{self, Stored, decode, record_name};
use crate::root::VersionId;

/// Versions that are read at once: about 100 KiB.
const PAGE: usize = 250;

impl Ledger {
    /// After a commit: what was made is pending no longer, and what slower calls have left of the same versions goes; a version that
    /// is disabled or scheduled for destruction is noted to be, so that it comes back as it is; and a destroyed one is removed. A
    /// place that cannot be reached, or not soon, does not hold up the emergency brake; it is logged, and compared when it answers.
    pub(super) async fn tell_destinations(&self, versions: &[CryptoKeyVersionName]) {
        if versions.is_empty() {
            return;
        }
        // Read in its turn: of two commits the one that is told last tells the newest, whichever it is.
        let wanted = || async {
            let mut wanted = Vec::new();
            for name in versions {
                wanted.extend(self.wanted(name).await.map_err(io::Error::other)?);
            }
            Ok(move |folder: &Path| wanted.iter().try_for_each(|it: &Wanted| it.put_into(folder)))
        };
        if let Err(error) = self.destinations.in_each(FOLLOW_LIMIT, wanted).await {
            tracing::error!(
                %error,
                "a backup destination does not know the new state of a key version, or still holds one that it should not; it is \
                 told when it answers"
            );
        }
    }

    /// Looks whether a destination is still there, and if it may lack anything compares all versions with it and writes what it
    /// should hold. One version at a time, so that a commit that needs its turn waits for one file at most. A failure is told here;
    /// it is answered for whoever decides when to look again.
    pub(crate) async fn complete_destination(&self, place: &Arc<Place>) -> Result<(), KmsError> {
        let ready = disk(place, |place| place.ready()).await;
        let (failures, problem) = (place.failures(), place.problem());
        let compared = match (ready, &problem) {
            (Ok(()), None) => return Ok(()),
            (Ok(()), Some(_)) => self.compare(place).await,
            (Err(error), _) => Err(error),
        };
        let destination = place.directory().display();
        match compared {
            Ok(written) => {
                if place.complete(failures) {
                    tracing::info!(%destination, written, "the backup destination holds every key version");
                }
                Ok(())
            }
            Err(error) => {
                let text = error.message().to_owned();
                if problem.as_ref() != Some(&text) {
                    tracing::error!(%destination, error = text, "a backup destination may lack key versions");
                }
                place.failed(text);
                Err(error)
            }
        }
    }

    /// Answers how many versions were written or removed. A record that cannot be read keeps none of the others away, and fails
    /// the comparison in the end.
    async fn compare(&self, place: &Arc<Place>) -> Result<usize, KmsError> {
        let (mut written, mut after, mut unreadable) = (0, String::new(), None);
        loop {
            let page = self.store.list(record_name::ALL_VERSIONS, &after, PAGE).await?;
            for entry in &page {
                let completed = match decode::<CryptoKeyVersion>(&entry.name, &entry.value) {
                    Ok(version) => self.complete_version(place, &version.name).await,
                    Err(error) => Err(error),
                };
                match completed {
                    Ok(changed) => written += usize::from(changed),
                    Err(error) if error.class() == ErrorClass::Corrupt => unreadable = Some(error),
                    Err(error) => return Err(error),
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.name),
                _ => return unreadable.map_or(Ok(written), Err),
            }
        }
    }

    async fn complete_version(
        &self,
        place: &Arc<Place>,
        name: &CryptoKeyVersionName,
    ) -> Result<bool, KmsError> {
        let Some(wanted) = self.wanted(name).await? else { return Ok(false) };
        if disk(place, move |place| place.with(|versions| wanted.is_in(versions))).await? {
            return Ok(false);
        }
        let turn = place.turn().await;
        // Read in its turn: a commit that changes the version from here on tells the place after this.
        let Some(wanted) = self.wanted(name).await? else { return Ok(false) };
        let put = move |place: &Place| {
            let _until_the_disk_is_done = &turn;
            place.with(|versions| wanted.put_into(versions))
        };
        disk(place, put).await?;
        Ok(true)
    }

    /// What a destination should hold of a version now. Nothing is said of one whose records are not all there: nothing is
    /// deleted because it was not found.
    async fn wanted(&self, name: &CryptoKeyVersionName) -> Result<Option<Wanted>, KmsError> {
        let store = self.store.as_ref();
        let version = records::read::<CryptoKeyVersion>(store, &record_name::version(name)).await?;
        let key = records::read::<CryptoKey>(store, &record_name::key(&name.key)).await?;
        let (Some(Stored { value: version, .. }), Some(Stored { value: key, .. })) = (version, key) else {
            return Ok(None);
        };
        let nothing = Wanted::Nothing(VersionId { uid: key.uid, number: name.version });
        if version.state == VersionState::Destroyed {
            return Ok(Some(nothing));
        }
        let Some(material) = store.get(&record_name::material(name)).await? else {
            // The reads are not of one state: it may have been destroyed, and deleted, since the first one.
            return match records::read::<CryptoKeyVersion>(store, &record_name::version(name)).await? {
                None => Ok(None),
                Some(now) if now.value.state == VersionState::Destroyed => Ok(Some(nothing)),
                Some(_) => {
                    let text = format!("the material of {name} is missing");
                    Err(KmsError::new(ErrorClass::Corrupt, text))
                }
            };
        };
        let material = hex::encode(material.value);
        Ok(Some(Wanted::Kept(Box::new(KeptVersion { key, version, material }))))
    }
}

/// Asks the disk of a place.
async fn disk<T: Send + 'static>(
    place: &Arc<Place>,
    work: impl FnOnce(&Place) -> io::Result<T> + Send + 'static,
) -> Result<T, KmsError> {
    place.asks(true);
    let asked = Arc::clone(place);
    let answered = on_disk(move || work(&asked)).await;
    place.asks(false);
    answered.map_err(|error| KmsError::new(ErrorClass::Unavailable, error.to_string()))
}
