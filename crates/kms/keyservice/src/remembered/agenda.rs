use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use keystead_model::{
    CryptoKey, CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName, VersionNumber, VersionState,
};

use crate::KmsError;
use crate::records::{decode, record_name};

/// When something is due, for every record that has such a time.
#[derive(Default)]
pub(crate) struct Agenda(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    times: HashMap<String, Timestamp>,
    order: BTreeSet<(Timestamp, String)>,
}

/// Something whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Rotation(CryptoKeyName),
    Destruction(CryptoKeyVersionName),
}

impl Agenda {
    /// Takes the time of a record as it is now; `None`: the record is gone.
    pub(super) fn note(&self, record: &str, bytes: Option<&[u8]>) -> Result<(), KmsError> {
        if ![record_name::ALL_KEYS, record_name::ALL_VERSIONS].iter().any(|prefix| record.starts_with(prefix))
        {
            return Ok(());
        }
        let due = bytes.map(|bytes| due_time(record, bytes)).transpose()?.flatten();
        self.lock().set(record, due);
        Ok(())
    }

    pub(crate) fn due(&self, now: Timestamp) -> Vec<Due> {
        let inner = self.lock();
        inner
            .order
            .iter()
            .take_while(|(time, _)| *time <= now)
            .filter_map(|(_, record)| parse(record))
            .collect()
    }

    /// Every key with a next rotation, however far away it is.
    pub(crate) fn rotations(&self) -> Vec<Due> {
        let inner = self.lock();
        let due = inner.times.keys().filter_map(|record| parse(record));
        due.filter(|due| matches!(due, Due::Rotation(_))).collect()
    }

    /// Versions that are to be destroyed, however far away that is.
    pub(crate) fn destructions(&self) -> usize {
        self.lock().times.keys().filter(|record| record.starts_with(record_name::ALL_VERSIONS)).count()
    }

    /// Forgets every time, before all of them are taken again.
    pub(super) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn set(&mut self, record: &str, due: Option<Timestamp>) {
        let before = match due {
            Some(time) => self.times.insert(record.to_owned(), time),
            None => self.times.remove(record),
        };
        if let Some(before) = before {
            self.order.remove(&(before, record.to_owned()));
        }
        if let Some(time) = due {
            self.order.insert((time, record.to_owned()));
        }
    }
}

/// When something happens to a record by itself: read from its bytes.
fn due_time(record: &str, bytes: &[u8]) -> Result<Option<Timestamp>, KmsError> {
    if record.starts_with(record_name::ALL_KEYS) {
        return Ok(decode::<CryptoKey>(record, bytes)?.next_rotation_time);
    }
    let version: CryptoKeyVersion = decode(record, bytes)?;
    Ok(version.destroy_time.filter(|_| version.state == VersionState::DestroyScheduled))
}

/// What a record's name says.
fn parse(record: &str) -> Option<Due> {
    if let Some(place) = record.strip_prefix(record_name::ALL_KEYS) {
        return Some(Due::Rotation(key(place)?));
    }
    let (place, number) = record.strip_prefix(record_name::ALL_VERSIONS)?.rsplit_once('/')?;
    let version = VersionNumber(number.parse().ok()?);
    Some(Due::Destruction(CryptoKeyVersionName { key: key(place)?, version }))
}

fn key(place: &str) -> Option<CryptoKeyName> {
    let (ring, key) = place.rsplit_once('/')?;
    Some(CryptoKeyName { ring: ring.parse().ok()?, key: key.parse().ok()? })
}
