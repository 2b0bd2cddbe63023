use std::collections::BTreeMap;

use jiff::Timestamp;
use keystead_model::{
    CryptoKey, CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName, KeyUid, VersionNumber, VersionState,
};

/// The name of every key here.
pub(crate) const KEY: &str = "projects/key-project/locations/us/keyRings/prod/cryptoKeys/k";

pub(crate) fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

pub(crate) fn number(number: u32) -> VersionNumber {
    number.to_string().parse().expect("a version number")
}

pub(crate) fn version_name(version: u32) -> CryptoKeyVersionName {
    format!("{KEY}/cryptoKeyVersions/{version}").parse().expect("a name")
}

/// Version `version` in `state`, due for destruction at 2026-07-01 when scheduled.
pub(crate) fn version(version: u32, state: VersionState) -> CryptoKeyVersion {
    CryptoKeyVersion {
        name: version_name(version),
        state,
        create_time: at("2026-01-01T00:00:00Z"),
        destroy_time: (state == VersionState::DestroyScheduled).then(|| at("2026-07-01T00:00:00Z")),
        destroy_event_time: (state == VersionState::Destroyed).then(|| at("2026-05-01T00:00:00Z")),
    }
}

/// A key with version 1 as primary and no schedule.
pub(crate) fn key(labels: &[(&str, &str)]) -> CryptoKey {
    named_key(KEY, labels)
}

pub(crate) fn named_key(name: &str, labels: &[(&str, &str)]) -> CryptoKey {
    CryptoKey {
        name: name.parse::<CryptoKeyName>().expect("a name"),
        uid: KeyUid([7; 16]),
        create_time: at("2026-01-01T00:00:00Z"),
        primary: Some(VersionNumber::FIRST),
        activations: 1,
        next_version: number(2),
        rotation_period_s: None,
        next_rotation_time: None,
        destroy_scheduled_duration_s: 2_592_000,
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect::<BTreeMap<_, _>>(),
    }
}
