//! The id of a call on its way into the answer: what a caller reports is found in the audit log by it.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of every answer to a caller who is known. The audit log has it as `insertId`.
const HEADER: HeaderName = HeaderName::from_static("x-keystead-request-id");

/// An extension of a request; it is empty until it was asked who calls.
#[derive(Clone, Default)]
pub(crate) struct CallId(Arc<OnceLock<Option<String>>>);

impl CallId {
    /// Once for each request; none: nobody who is known.
    pub(crate) fn set(&self, id: Option<&str>) {
        self.0.get_or_init(|| id.map(str::to_owned));
    }

    /// Whether it was asked who calls: the request was read that far.
    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// Names the call in its answer.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        if let Some(id) = self.0.get().and_then(Option::as_ref).and_then(|id| HeaderValue::from_str(id).ok())
        {
            headers.insert(HEADER, id);
        }
    }
}
