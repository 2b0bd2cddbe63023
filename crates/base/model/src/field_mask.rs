//! Field masks: which fields of a record an update means. REST writes them in camelCase, gRPC in snake_case; both are read
//! everywhere.

use std::collections::BTreeSet;

use crate::ErrorClass;

/// Longest mask, in bytes: all fields of the largest record, twice.
pub const MAX_MASK_LEN: usize = 1_024;

/// Which fields a record has, by their names in JSON.
#[derive(Clone, Copy, Debug)]
pub struct MaskFields {
    /// May be changed.
    pub updatable: &'static [&'static str],
    /// Are there and stay as they are.
    pub fixed: &'static [&'static str],
}

/// The fields of a key.
pub const CRYPTO_KEY: MaskFields = MaskFields {
    updatable: &[
        "labels",
        "nextRotationTime",
        "rotationPeriod",
        "versionTemplate",
        "versionTemplate.algorithm",
        "versionTemplate.protectionLevel",
    ],
    fixed: &[
        "createTime",
        "cryptoKeyBackend",
        "destroyScheduledDuration",
        "importOnly",
        "keyAccessJustificationsPolicy",
        "name",
        "primary",
        "purpose",
    ],
};

/// The fields of a key version.
pub const CRYPTO_KEY_VERSION: MaskFields = MaskFields {
    updatable: &["state"],
    fixed: &[
        "algorithm",
        "attestation",
        "createTime",
        "destroyEventTime",
        "destroyTime",
        "externalProtectionLevelOptions",
        "generateTime",
        "importFailureReason",
        "importJob",
        "importTime",
        "name",
        "protectionLevel",
        "reimportEligible",
    ],
};

/// The fields that an update means, by their names in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldMask {
    paths: BTreeSet<&'static str>,
}

impl FieldMask {
    /// Reads a list separated by commas, as REST sends it. An update that means nothing is refused.
    pub fn parse(text: &str, fields: MaskFields) -> Result<Self, InvalidMask> {
        Self::from_paths(text.split(','), fields)
    }

    /// Reads paths, as gRPC sends them. An update that means nothing is refused.
    pub fn from_paths<'a>(
        given: impl IntoIterator<Item = &'a str>,
        fields: MaskFields,
    ) -> Result<Self, InvalidMask> {
        let mut mask = Self::default();
        let mut len = 0;
        for path in given.into_iter().map(str::trim).filter(|path| !path.is_empty()) {
            len += path.len() + 1;
            if len > MAX_MASK_LEN {
                return Err(InvalidMask::TooLong);
            }
            mask.paths.insert(find(path, fields)?);
        }
        if mask.paths.is_empty() { Err(InvalidMask::Empty) } else { Ok(mask) }
    }

    /// Whether the update means `path`: it or what it is part of is in the mask.
    pub fn contains(&self, path: &str) -> bool {
        let whole = path.split_once('.').map(|(whole, _)| whole);
        self.paths.contains(path) || whole.is_some_and(|whole| self.paths.contains(whole))
    }

    /// The paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.paths.iter().copied()
    }
}

fn find(path: &str, fields: MaskFields) -> Result<&'static str, InvalidMask> {
    let name = path.split('.').map(camel_case).collect::<Vec<_>>().join(".");
    let is_there = |known: &[&'static str]| known.iter().copied().find(|it| *it == name);
    match (is_there(fields.updatable), is_there(fields.fixed)) {
        (Some(found), _) => Ok(found),
        (None, Some(fixed)) => Err(InvalidMask::Fixed { path: fixed }),
        (None, None) => Err(InvalidMask::Unknown {
            path: path.chars().take(200).collect(),
            known: fields.updatable.join(", "),
        }),
    }
}

/// `create_time` as `createTime`; what is in camelCase stays.
pub(crate) fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut rest = name.chars().peekable();
    while let Some(next) = rest.next() {
        match rest.peek() {
            Some(after) if next == '_' && after.is_ascii_lowercase() => {
                camel.extend(after.to_uppercase());
                rest.next();
            }
            _ => camel.push(next),
        }
    }
    camel
}

/// Why a mask is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMask {
    /// Nothing to do.
    #[error("update_mask must name at least one field.")]
    Empty,
    /// Longer than [`MAX_MASK_LEN`].
    #[error("update_mask must be at most {MAX_MASK_LEN} bytes.")]
    TooLong,
    /// No such field.
    #[error("update_mask names the unknown field {path:?}. Fields that can be updated: {known}.")]
    Unknown {
        /// What was given, cut.
        path: String,
        /// What there is.
        known: String,
    },
    /// A field that stays as it is.
    #[error("{path} cannot be changed.")]
    Fixed {
        /// The field.
        path: &'static str,
    },
}

impl InvalidMask {
    /// `Invalid`.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}
