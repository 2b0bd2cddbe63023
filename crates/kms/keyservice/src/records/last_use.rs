use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// When and from where a credential was last used. Written at most once an hour: it may be older than the newest use by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// When.
    pub time: Timestamp,
    /// The other end of the connection, if there was one.
    pub address: Option<IpAddr>,
}
