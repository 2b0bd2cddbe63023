use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A revoked certificate. Kept for ever, because nobody here knows when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateState {
    pub(crate) revoke_time: Option<Timestamp>,
}
