//! The id of a call on its way into the answer: what a caller reports is found in the audit log by it.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of every answer to a caller who is known. The audit log has it as `insertId`.
const HEADER: HeaderName = HeaderName::from_static("x-keystead-request-id");

/// An extension of a request; it is empty until somebody has been authenticated.
#[derive(Clone, Default)]
pub(super) struct CallId(Arc<OnceLock<String>>);

impl CallId {
    /// Once for each request.
    pub(super) fn set(&self, id: &str) {
        self.0.get_or_init(|| id.to_owned());
    }

    /// Names the call in its answer.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        if let Some(id) = self.0.get().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(HEADER, id);
        }
    }
}
