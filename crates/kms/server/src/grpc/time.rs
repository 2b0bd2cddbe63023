//! Times and durations of protobuf.

use jiff::Timestamp;
use keystead_keyservice::{Detail, KmsError};

pub(super) fn to_proto(time: Timestamp) -> prost_types::Timestamp {
    // Times of ours are after 1970, where both count nanoseconds forward.
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

pub(super) fn from_proto(field: &str, time: prost_types::Timestamp) -> Result<Timestamp, KmsError> {
    let in_range = (0..1_000_000_000).contains(&time.nanos);
    let parsed = Timestamp::new(time.seconds, time.nanos).ok().filter(|_| in_range);
    parsed.ok_or_else(|| invalid(field, "is not a time between the years 1 and 9999"))
}

pub(super) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// Whole seconds: everything that is planned here is.
pub(super) fn whole_seconds(field: &str, duration: prost_types::Duration) -> Result<i64, KmsError> {
    match duration.nanos {
        0 => Ok(duration.seconds),
        _ => Err(invalid(field, "must be a whole number of seconds")),
    }
}

fn invalid(field: &str, what: &str) -> KmsError {
    let text = format!("The field {field} {what}.");
    KmsError::invalid(text.clone()).with(Detail::BadRequest { field: field.to_owned(), description: text })
}
