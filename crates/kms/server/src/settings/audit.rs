use std::str::FromStr;
use std::time::Duration;

use keystead_audit::AuditSettings;
use keystead_runtime::{Failure, Span, from_string};
use schemars::JsonSchema;
use serde::Deserialize;

use super::exports::{self, ExportEntry};
use super::values::Size;
use super::wrong;

/// Below it, sealing would cost more than the records.
const MIN_SEGMENT: u64 = 64 << 10;

/// The audit log.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PartialAudit {
    /// A segment of the log is sealed once it is larger; 64MiB
    #[arg(
        id = "audit_segment_size",
        long = "audit-segment-size",
        env = "KEYSTEAD_SERVER_AUDIT_SEGMENT_SIZE",
        value_name = "SIZE"
    )]
    segment_size: Option<Size>,
    /// A segment of the log is sealed once its first record is older; 1day
    #[arg(
        id = "audit_segment_age",
        long = "audit-segment-age",
        env = "KEYSTEAD_SERVER_AUDIT_SEGMENT_AGE",
        value_name = "TIME"
    )]
    segment_age: Option<Span>,
    /// Sealed segments are deleted once their newest record is older; 400days
    #[arg(
        id = "audit_retention",
        long = "audit-retention",
        env = "KEYSTEAD_SERVER_AUDIT_RETENTION",
        value_name = "TIME|forever"
    )]
    retention: Option<Retention>,
    /// Space that is kept for records for when the disk is full; 32MiB
    #[arg(
        id = "audit_reserve",
        long = "audit-reserve",
        env = "KEYSTEAD_SERVER_AUDIT_RESERVE",
        value_name = "SIZE"
    )]
    reserve: Option<Size>,
    /// Where records go besides the log
    #[arg(skip)]
    exports: Option<Vec<ExportEntry>>,
}

/// A time, or `forever`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
struct Retention(Option<Duration>);

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "forever" => Ok(Self(None)),
            text => text
                .parse::<Span>()
                .map(|span| Self(Some(span.get())))
                .map_err(|_| format!("`{text}` is neither `forever` nor a time such as 400days")),
        }
    }
}

from_string!(Retention);

impl PartialAudit {
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            segment_size: self.segment_size.or(other.segment_size),
            segment_age: self.segment_age.or(other.segment_age),
            retention: self.retention.or(other.retention),
            reserve: self.reserve.or(other.reserve),
            exports: self.exports.or(other.exports),
        }
    }

    pub(super) fn complete(self) -> Result<AuditSettings, Failure> {
        let mut settings = AuditSettings::default();
        if let Some(size) = self.segment_size {
            settings.segment_bytes = size.get();
        }
        if let Some(age) = self.segment_age {
            settings.segment_age = age.get();
        }
        if let Some(Retention(retention)) = self.retention {
            settings.retention = retention;
        }
        if let Some(reserve) = self.reserve {
            settings.reserve_bytes = reserve.get();
        }
        settings.exports = exports::complete(self.exports.unwrap_or_default())?;
        if settings.segment_bytes < MIN_SEGMENT || settings.segment_age.is_zero() {
            return Err(wrong(
                "segments of the audit log are too small",
                "give an age above 0s and a size of 64KiB or more, or leave them out",
            ));
        }
        Ok(settings)
    }
}
