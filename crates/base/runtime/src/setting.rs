//! Values of settings with a form of their own, the same in the file, in flags and in the environment.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// A time such as `15s`, `1h` or `500ms`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Span(Duration);

/// An address, or `off`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct AdminAddress(Option<SocketAddr>);

impl Span {
    /// How long it is.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| format!("`{text}` is not a time such as 15s, 2m or 30days"))
    }
}

impl AdminAddress {
    /// None when it is off.
    pub fn get(self) -> Option<SocketAddr> {
        self.0
    }
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<SocketAddr>() {
            _ if text == "off" => Ok(Self(None)),
            Ok(address) if address.ip().is_loopback() => Ok(Self(Some(address))),
            _ => Err(format!("`{text}` is neither `off` nor a loopback address such as 127.0.0.1:9444")),
        }
    }
}

/// Reads values in a file as they are read in a flag: by `FromStr`, whose error is a `String`.
#[macro_export]
macro_rules! from_string {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    )*};
}
from_string!(Span, AdminAddress);
