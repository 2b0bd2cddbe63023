//! Key rings, keys and their versions, as they are stored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CryptoKeyName, CryptoKeyVersionName, KeyRingName, VersionNumber};

/// A key ring. Nothing of it can be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRing {
    /// Its name.
    pub name: KeyRingName,
    /// When it was made, to the microsecond.
    pub create_time: Timestamp,
}

/// A key: its versions and what happens to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CryptoKey {
    /// Its name.
    pub name: CryptoKeyName,
    /// Random, never used again: ciphertexts hold it in place of the name.
    pub uid: KeyUid,
    /// When it was made, to the microsecond.
    pub create_time: Timestamp,
    /// The version that encrypts; none until one is chosen.
    pub primary: Option<VersionNumber>,
    /// How often a primary has been chosen.
    pub activations: u32,
    /// The number that the next version gets.
    pub next_version: VersionNumber,
    /// Time between two rotations, in seconds.
    pub rotation_period_s: Option<i64>,
    /// When it is rotated next.
    pub next_rotation_time: Option<Timestamp>,
    /// Time between scheduling a destruction and doing it, in seconds.
    pub destroy_scheduled_duration_s: i64,
    /// The only free data about a key.
    pub labels: BTreeMap<String, String>,
}

/// The state of a key version, with the numbers of Cloud KMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VersionState {
    /// May be used.
    Enabled = 1,
    /// May not be used; the material is kept.
    Disabled = 2,
    /// The material is gone; the record stays.
    Destroyed = 3,
    /// May not be used, and the material goes at `destroy_time`.
    DestroyScheduled = 4,
}

impl VersionState {
    /// As Cloud KMS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::Destroyed => "DESTROYED",
            Self::DestroyScheduled => "DESTROY_SCHEDULED",
        }
    }
}

/// A key version. Its sealed material is a record of its own, which goes when the version is destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CryptoKeyVersion {
    /// Its name.
    pub name: CryptoKeyVersionName,
    /// What may be done with it.
    pub state: VersionState,
    /// When it was made, to the microsecond. Material is made at once, so this is `generateTime` too.
    pub create_time: Timestamp,
    /// When the material goes; only while `DestroyScheduled`.
    pub destroy_time: Option<Timestamp>,
    /// When the material went; only when `Destroyed`.
    pub destroy_event_time: Option<Timestamp>,
}

/// 128 random bits that name a key for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyUid(pub [u8; 16]);

/// A name that was used once and never will be again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredResource {
    /// `projects/P/locations/L/retiredResources/ID`.
    pub name: String,
    /// The full name of what was deleted.
    pub original_resource: String,
    /// `cloudkms.googleapis.com/CryptoKey`.
    pub resource_type: String,
    /// When it was deleted.
    pub delete_time: Timestamp,
}
