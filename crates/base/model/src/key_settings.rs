//! What an owner may set on a key.

use std::collections::BTreeMap;

use crate::ErrorClass;

/// Default time between scheduling a destruction and doing it: 30 days.
pub const DEFAULT_DESTROY_SCHEDULED_S: i64 = 30 * 86_400;
/// Shortest: 24 hours.
pub const MIN_DESTROY_SCHEDULED_S: i64 = 86_400;
/// Longest: 120 days.
pub const MAX_DESTROY_SCHEDULED_S: i64 = 120 * 86_400;
/// Most labels of a key.
pub const MAX_LABELS: usize = 64;
/// Longest key and longest value of a label, in characters.
pub const MAX_LABEL_CHARS: usize = 63;
/// The same in bytes of UTF-8.
pub const MAX_LABEL_BYTES: usize = 128;

/// Checks labels by the rules that all of Google's services share.
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), InvalidSetting> {
    if labels.len() > MAX_LABELS {
        return Err(InvalidSetting::TooManyLabels { given: labels.len() });
    }
    for (key, value) in labels {
        let starts_with_letter = key.chars().next().is_some_and(is_label_letter);
        if !starts_with_letter || !is_label_text(key) {
            return Err(InvalidSetting::LabelKey { key: shown(key) });
        }
        if !is_label_text(value) {
            return Err(InvalidSetting::LabelValue { key: key.clone(), value: shown(value) });
        }
    }
    Ok(())
}

/// Checks `destroyScheduledDuration`; none is the default.
pub fn check_destroy_scheduled(duration_s: Option<i64>) -> Result<i64, InvalidSetting> {
    match duration_s {
        None => Ok(DEFAULT_DESTROY_SCHEDULED_S),
        Some(given_s) if (MIN_DESTROY_SCHEDULED_S..=MAX_DESTROY_SCHEDULED_S).contains(&given_s) => {
            Ok(given_s)
        }
        Some(given_s) => Err(InvalidSetting::DestroyScheduled { given_s }),
    }
}

/// A setting that a key cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// More than [`MAX_LABELS`].
    #[error("labels must be at most 64, not {given}.")]
    TooManyLabels {
        /// How many there were.
        given: usize,
    },
    /// Not the key of a label.
    #[error(
        "label key {key:?} must be 1 to 63 lower-case letters, digits, hyphens and underscores, and start with a letter."
    )]
    LabelKey {
        /// What was given, cut.
        key: String,
    },
    /// Not the value of a label.
    #[error(
        "value {value:?} of label {key:?} must be at most 63 lower-case letters, digits, hyphens and underscores."
    )]
    LabelValue {
        /// The key.
        key: String,
        /// What was given, cut.
        value: String,
    },
    /// Out of range.
    #[error(
        "destroy_scheduled_duration must be between 86400s (24 hours) and 10368000s (120 days), not {given_s}s."
    )]
    DestroyScheduled {
        /// What was asked.
        given_s: i64,
    },
}

impl InvalidSetting {
    /// `Invalid`.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}

fn is_label_text(text: &str) -> bool {
    text.len() <= MAX_LABEL_BYTES
        && text.chars().count() <= MAX_LABEL_CHARS
        && text.chars().all(|it| is_label_letter(it) || it.is_numeric() || it == '_' || it == '-')
}

/// A letter without upper case: lower case, or of a script that has no cases.
fn is_label_letter(it: char) -> bool {
    it.is_alphabetic() && !it.is_uppercase()
}

/// Longest part of hostile input that an error repeats, in characters.
fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}
