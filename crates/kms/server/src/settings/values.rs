//! Values of the server's settings with a form of their own.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use keystead_model::destruction::InUseRule;
use keystead_runtime::from_string;
use schemars::JsonSchema;
use serde::Deserialize;

/// A number of bytes such as `64MiB`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(crate) struct Size(u64);

impl Size {
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size such as 64MiB, 512KiB or 2GiB");
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(unit).map(Self).ok_or_else(wrong)
    }
}

/// An address that only this host reaches.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(crate) struct LoopbackAddress(SocketAddr);

impl LoopbackAddress {
    pub(crate) fn get(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for LoopbackAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self(address)),
            Ok(_) => Err(format!(
                "plain HTTP would show tokens and secrets to the network: `{text}` is not a loopback address such as \
                 127.0.0.1:9080"
            )),
            Err(_) => Err(format!("`{text}` is not an address such as 127.0.0.1:9080")),
        }
    }
}

/// A name or an address without a port.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(crate) struct HostName(String);

impl HostName {
    pub(crate) fn get(self) -> String {
        self.0
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is not a host name such as kms.example.com, in lower case and without a port"
            ))
        }
    }
}

from_string!(Size, LoopbackAddress, HostName);

/// Which versions count as in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum InUseSetting {
    /// What ever encrypted or decrypted something, until every registered inventory is newer and none names it
    #[default]
    Used,
    /// What decrypted something within 7 days
    Recent,
    /// None: for a service that holds no cluster's keys
    Off,
}

impl From<InUseSetting> for InUseRule {
    fn from(given: InUseSetting) -> Self {
        match given {
            InUseSetting::Used => Self::Used,
            InUseSetting::Recent => Self::Recent,
            InUseSetting::Off => Self::Off,
        }
    }
}
