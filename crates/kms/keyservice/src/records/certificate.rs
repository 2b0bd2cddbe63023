use jiff::Timestamp;
use keystead_model::Principal;
use serde::{Deserialize, Serialize};

use super::usage::LastUse;

/// What is known of a client certificate that was issued or revoked here. The certificate itself is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateState {
    /// Who authenticates with it; none: it was revoked here and not issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// When it was issued; none: as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue_time: Option<Timestamp>,
    /// Its last moment; none: as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Timestamp>,
    /// Since when it does not count any more. Such a record stays for ever, whatever a clock says.
    pub revoke_time: Option<Timestamp>,
    /// To the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_use: Option<LastUse>,
}
