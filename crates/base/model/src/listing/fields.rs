use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{CryptoKey, CryptoKeyVersion, KeyRing, RetiredResource};

/// What can be listed: its fields by their names in JSON.
pub trait Fields {
    /// Every field that a filter may name, such as `primary.state`, and what it holds.
    const FIELDS: &'static [(&'static str, FieldKind)];

    /// The value of one of [`Self::FIELDS`]; none when it is not set.
    fn field(&self, name: &str) -> Option<FieldValue<'_>>;

    /// The name, written so that names sort as a person expects: numbers as numbers.
    fn sort_name(&self) -> String;

    /// When it was made.
    fn create_time(&self) -> Timestamp;
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A text, or the name of an enum's value.
    Text,
    /// `true` or `false`.
    Bool,
    /// A point in time.
    Time,
    /// A number of seconds.
    Seconds,
    /// Labels: `labels.KEY` is a text.
    Labels,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue<'a> {
    /// A text, or the name of an enum's value.
    Text(Cow<'a, str>),
    /// `true` or `false`.
    Bool(bool),
    /// A point in time.
    Time(Timestamp),
    /// A number of seconds.
    Seconds(i64),
    /// Labels.
    Labels(&'a BTreeMap<String, String>),
}

/// A key with its primary version, whose fields are the key's in the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// The key.
    pub key: CryptoKey,
    /// Its primary version, if it has one.
    pub primary: Option<CryptoKeyVersion>,
}

const ALGORITHM: &str = "GOOGLE_SYMMETRIC_ENCRYPTION";
const PROTECTION_LEVEL: &str = "SOFTWARE";
const PURPOSE: &str = "ENCRYPT_DECRYPT";

impl Fields for RetiredResource {
    const FIELDS: &'static [(&'static str, FieldKind)] = &[
        ("name", FieldKind::Text),
        ("originalResource", FieldKind::Text),
        ("resourceType", FieldKind::Text),
        ("deleteTime", FieldKind::Time),
    ];

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        match name {
            "name" => Some(text(self.name.clone())),
            "originalResource" => Some(text(self.original_resource.clone())),
            "resourceType" => Some(text(self.resource_type.clone())),
            "deleteTime" => Some(FieldValue::Time(self.delete_time)),
            _ => None,
        }
    }

    fn sort_name(&self) -> String {
        self.name.clone()
    }

    fn create_time(&self) -> Timestamp {
        self.delete_time
    }
}

impl Fields for KeyRing {
    const FIELDS: &'static [(&'static str, FieldKind)] =
        &[("name", FieldKind::Text), ("createTime", FieldKind::Time)];

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        match name {
            "name" => Some(text(self.name.to_string())),
            "createTime" => Some(FieldValue::Time(self.create_time)),
            _ => None,
        }
    }

    fn sort_name(&self) -> String {
        self.name.to_string()
    }

    fn create_time(&self) -> Timestamp {
        self.create_time
    }
}

impl Fields for ListedKey {
    const FIELDS: &'static [(&'static str, FieldKind)] = &[
        ("name", FieldKind::Text),
        ("createTime", FieldKind::Time),
        ("purpose", FieldKind::Text),
        ("rotationPeriod", FieldKind::Seconds),
        ("nextRotationTime", FieldKind::Time),
        ("destroyScheduledDuration", FieldKind::Seconds),
        ("importOnly", FieldKind::Bool),
        ("labels", FieldKind::Labels),
        ("versionTemplate.algorithm", FieldKind::Text),
        ("versionTemplate.protectionLevel", FieldKind::Text),
        ("primary.name", FieldKind::Text),
        ("primary.state", FieldKind::Text),
        ("primary.algorithm", FieldKind::Text),
        ("primary.protectionLevel", FieldKind::Text),
        ("primary.createTime", FieldKind::Time),
        ("primary.generateTime", FieldKind::Time),
        ("primary.destroyTime", FieldKind::Time),
        ("primary.destroyEventTime", FieldKind::Time),
    ];

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let key = &self.key;
        match name {
            "name" => Some(text(key.name.to_string())),
            "createTime" => Some(FieldValue::Time(key.create_time)),
            "purpose" => Some(text(PURPOSE)),
            "rotationPeriod" => key.rotation_period_s.map(FieldValue::Seconds),
            "nextRotationTime" => key.next_rotation_time.map(FieldValue::Time),
            "destroyScheduledDuration" => Some(FieldValue::Seconds(key.destroy_scheduled_duration_s)),
            "importOnly" => Some(FieldValue::Bool(false)),
            "labels" => (!key.labels.is_empty()).then_some(FieldValue::Labels(&key.labels)),
            "versionTemplate.algorithm" => Some(text(ALGORITHM)),
            "versionTemplate.protectionLevel" => Some(text(PROTECTION_LEVEL)),
            _ => self.primary.as_ref()?.field(name.strip_prefix("primary.")?),
        }
    }

    fn sort_name(&self) -> String {
        self.key.name.to_string()
    }

    fn create_time(&self) -> Timestamp {
        self.key.create_time
    }
}

impl Fields for CryptoKeyVersion {
    const FIELDS: &'static [(&'static str, FieldKind)] = &[
        ("name", FieldKind::Text),
        ("state", FieldKind::Text),
        ("algorithm", FieldKind::Text),
        ("protectionLevel", FieldKind::Text),
        ("createTime", FieldKind::Time),
        ("generateTime", FieldKind::Time),
        ("destroyTime", FieldKind::Time),
        ("destroyEventTime", FieldKind::Time),
    ];

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        match name {
            "name" => Some(text(self.name.to_string())),
            "state" => Some(text(self.state.as_str())),
            "algorithm" => Some(text(ALGORITHM)),
            "protectionLevel" => Some(text(PROTECTION_LEVEL)),
            "createTime" | "generateTime" => Some(FieldValue::Time(self.create_time)),
            "destroyTime" => self.destroy_time.map(FieldValue::Time),
            "destroyEventTime" => self.destroy_event_time.map(FieldValue::Time),
            _ => None,
        }
    }

    fn sort_name(&self) -> String {
        format!("{}/{:010}", self.name.key, self.name.version.get())
    }

    fn create_time(&self) -> Timestamp {
        self.create_time
    }
}

fn text<'a>(text: impl Into<Cow<'a, str>>) -> FieldValue<'a> {
    FieldValue::Text(text.into())
}
