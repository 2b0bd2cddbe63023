//! What a key file says, and the changes that are allowed. Its text is in `key_file/text.rs`.

mod text;

use std::collections::BTreeMap;

use keystead_crypto::{CryptoFailed, Random, Secret32, hkdf_sha256};
use keystead_model::Material;

pub use text::KeyFileError;

pub(crate) use text::MAX_LEN;
use text::is_time;

const MAX_VERSIONS: usize = 256;
/// As many as fit. One rotation a week fills it in 19 years.
const MAX_REMOVED: usize = 1000;

/// A key file in memory.
pub struct KeyFile {
    /// Random; the canonical name of the key.
    id: [u8; 16],
    activation: u32,
    primary: u32,
    /// The number of the next version: numbers of removed versions are never used again.
    next: u32,
    versions: BTreeMap<u32, Version>,
    /// Which keys the removed versions had, as far as that was written down, so that no other key takes their place.
    removed: BTreeMap<u32, Fingerprint>,
}

type Fingerprint = [u8; 8];

struct Version {
    /// RFC 3339, UTC, whole seconds.
    created: String,
    key: Secret32,
    fingerprint: Fingerprint,
    /// Whether the key id says it. Versions that were made before key ids had such a part keep their key ids.
    in_key_id: bool,
}

/// One version, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Its number.
    pub version: u32,
    /// RFC 3339, UTC.
    pub created: String,
    /// Whether it wraps.
    pub primary: bool,
    /// 8 bytes derived from the key, in hexadecimal: equal on two hosts when the keys are.
    pub fingerprint: String,
}

impl KeyFile {
    /// A new file with version 1 as primary. `now` is RFC 3339 in UTC.
    pub fn generate(now: &str, random: &dyn Random) -> Result<Self, EditError> {
        let mut id = [0; 16];
        random.fill(&mut id)?;
        let mut file = Self {
            id,
            activation: 0,
            primary: 0,
            next: 1,
            versions: BTreeMap::new(),
            removed: BTreeMap::new(),
        };
        let first = file.add(now, random)?;
        file.promote(first)?;
        Ok(file)
    }

    /// Makes a version that only unwraps, and answers its number. Every host needs it before any host uses it.
    pub fn add(&mut self, now: &str, random: &dyn Random) -> Result<u32, EditError> {
        if self.versions.len() >= MAX_VERSIONS {
            return Err(EditError::Full);
        }
        if !is_time(now) {
            return Err(EditError::Time(now.to_owned()));
        }
        let number = self.next;
        let next = number.checked_add(1).ok_or(EditError::Full)?;
        let key = Secret32::generate(random)?;
        let fingerprint = fingerprint(&self.id, &key)?;
        let version = Version { created: now.to_owned(), key, fingerprint, in_key_id: true };
        self.next = next;
        self.versions.insert(number, version);
        Ok(number)
    }

    /// Makes a version the primary and counts that, so that going back to an earlier one gives a new key id.
    pub fn promote(&mut self, number: u32) -> Result<(), EditError> {
        self.require(number)?;
        if self.primary == number {
            return Err(EditError::AlreadyPrimary(number));
        }
        self.activation = self.activation.checked_add(1).ok_or(EditError::Full)?;
        self.primary = number;
        Ok(())
    }

    /// Forgets a version for ever; refuses the primary.
    pub fn remove(&mut self, number: u32) -> Result<(), EditError> {
        self.require(number)?;
        if self.primary == number {
            return Err(EditError::IsPrimary(number));
        }
        if self.removed.len() >= MAX_REMOVED {
            return Err(EditError::Full);
        }
        if let Some(version) = self.versions.remove(&number) {
            self.removed.insert(number, version.fingerprint);
        }
        Ok(())
    }

    /// Whether this file is the same key as `old` and holds everything that `old` holds, so that it can take its place.
    pub fn can_replace(&self, old: &Self) -> Result<(), EditError> {
        self.can_follow(old)?;
        match old.versions.keys().find(|number| !self.versions.contains_key(number)) {
            Some(number) => Err(EditError::WouldLose(*number)),
            None => Ok(()),
        }
    }

    /// Whether this file can be a later state of `old`. It may lack versions, because `key remove` takes them out.
    pub(crate) fn can_follow(&self, old: &Self) -> Result<(), EditError> {
        if self.id != old.id {
            return Err(EditError::OtherKey { have: old.id(), given: self.id() });
        }
        if self.activation < old.activation || self.next < old.next {
            return Err(EditError::Older { have: old.activation, given: self.activation });
        }
        for (number, version) in &old.versions {
            if self.versions.get(number).is_some_and(|ours| !ours.key.is_same(&version.key)) {
                return Err(EditError::WouldLose(*number));
            }
        }
        match old.known().find(|(number, known)| self.fingerprint(*number).is_some_and(|ours| ours != *known))
        {
            Some((number, _)) => Err(EditError::UsedAgain(number)),
            None => Ok(()),
        }
    }

    /// Keeps in mind which keys `old` holds or held that this file knows nothing of.
    pub(crate) fn remember(&mut self, old: &Self) {
        for (number, fingerprint) in old.known() {
            if self.fingerprint(number).is_none() && self.removed.len() < MAX_REMOVED {
                self.removed.insert(number, fingerprint);
            }
        }
    }

    /// Numbers and fingerprints of all versions that are or were there.
    fn known(&self) -> impl Iterator<Item = (u32, Fingerprint)> {
        let there = self.versions.iter().map(|(number, version)| (*number, version.fingerprint));
        there.chain(self.removed.iter().map(|(number, fingerprint)| (*number, *fingerprint)))
    }

    fn fingerprint(&self, number: u32) -> Option<Fingerprint> {
        let there = self.versions.get(&number).map(|version| version.fingerprint);
        there.or_else(|| self.removed.get(&number).copied())
    }

    /// The key's canonical name: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// How often a primary was chosen so far.
    pub fn activation(&self) -> u32 {
        self.activation
    }

    /// The version that wraps.
    pub fn primary(&self) -> u32 {
        self.primary
    }

    /// All versions by number.
    pub fn versions(&self) -> Vec<VersionInfo> {
        self.versions
            .iter()
            .map(|(number, version)| VersionInfo {
                version: *number,
                created: version.created.clone(),
                primary: *number == self.primary,
                fingerprint: hex::encode(version.fingerprint),
            })
            .collect()
    }

    /// What the key id says of a version's key: the first half of its fingerprint.
    pub(crate) fn material(&self, number: u32) -> Option<Material> {
        let version = self.versions.get(&number).filter(|version| version.in_key_id)?;
        let (first, _) = version.fingerprint.split_first_chunk()?;
        Some(Material(*first))
    }

    pub(crate) fn key(&self, number: u32) -> Option<&Secret32> {
        self.versions.get(&number).map(|version| &version.key)
    }

    fn require(&self, number: u32) -> Result<(), EditError> {
        if self.versions.contains_key(&number) {
            return Ok(());
        }
        let known: Vec<String> = self.versions.keys().map(u32::to_string).collect();
        Err(EditError::NoSuchVersion { given: number, known: known.join(", ") })
    }
}

/// Why a change is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Nothing to do.
    #[error("version {0} is the primary already")]
    AlreadyPrimary(u32),
    /// The library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoFailed),
    /// No room for more.
    #[error(
        "the key file is full: it holds at most {MAX_VERSIONS} versions and the fingerprints of {MAX_REMOVED} removed ones; \
         remove versions that nothing uses any more, or make a new key"
    )]
    Full,
    /// Removing it would stop encryption.
    #[error("version {0} is the primary and cannot be removed; promote another one first")]
    IsPrimary(u32),
    /// There is none.
    #[error("the key file holds no version {given}; it holds {known}")]
    NoSuchVersion {
        /// The number asked for.
        given: u32,
        /// The numbers that are there.
        known: String,
    },
    /// The given file has an earlier state.
    #[error("the given key file is older (activation {given}) than the one in place (activation {have})")]
    Older {
        /// The count in the file that is in place.
        have: u32,
        /// The count in the file that was given.
        given: u32,
    },
    /// Another key altogether.
    #[error("the given key file is another key ({given}) than the one in place ({have})")]
    OtherKey {
        /// The id of the key in place.
        have: String,
        /// The id of the key that was given.
        given: String,
    },
    /// The number of a removed version, with another key.
    #[error(
        "version {0} was another key before: the given key file uses the number of a removed version again"
    )]
    UsedAgain(u32),
    /// Not RFC 3339.
    #[error("`{0}` is not a time in UTC such as 2026-01-31T12:00:00Z")]
    Time(String),
    /// Something in place is not in the given file.
    #[error(
        "the given key file lacks version {0} or has another key under that number; replacing the one in place would lose it"
    )]
    WouldLose(u32),
}

/// One way, because it stands in clear in key ids and lists.
fn fingerprint(id: &[u8; 16], key: &Secret32) -> Result<Fingerprint, CryptoFailed> {
    let mut fingerprint = [0; 8];
    hkdf_sha256(key.expose(), id, b"keystead key file fingerprint 1", &mut fingerprint)?;
    Ok(fingerprint)
}
