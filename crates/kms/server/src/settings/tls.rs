use std::path::PathBuf;

use keystead_runtime::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::wrong;
use crate::tls::{CertificateFiles, TlsSettings};

/// The TLS port.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PartialTls {
    /// The server's certificate and those that lead to its authority, in PEM; made by the server when it is not given
    #[arg(
        id = "tls_certificate",
        long = "tls-certificate",
        env = "KEYSTEAD_SERVER_TLS_CERTIFICATE",
        value_name = "FILE"
    )]
    certificate: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(id = "tls_key", long = "tls-key", env = "KEYSTEAD_SERVER_TLS_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Authorities of client certificates besides the server's own, in PEM
    #[arg(
        id = "tls_client_ca",
        long = "tls-client-ca",
        env = "KEYSTEAD_SERVER_TLS_CLIENT_CA",
        value_name = "FILE"
    )]
    client_ca: Option<PathBuf>,
    /// The oldest version of TLS that is spoken
    #[arg(
        id = "tls_min_version",
        long = "tls-min-version",
        env = "KEYSTEAD_SERVER_TLS_MIN_VERSION",
        value_name = "VERSION"
    )]
    min_version: Option<MinVersion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
enum MinVersion {
    /// For clients that know nothing newer.
    #[serde(rename = "1.2")]
    #[value(name = "1.2")]
    Tls12,
    /// The default.
    #[serde(rename = "1.3")]
    #[value(name = "1.3")]
    Tls13,
}

impl PartialTls {
    pub(super) fn or(self, other: Self) -> Self {
        // A key belongs to its certificate, wherever both are given.
        let (certificate, key) = if self.certificate.is_some() || self.key.is_some() {
            (self.certificate, self.key)
        } else {
            (other.certificate, other.key)
        };
        Self {
            certificate,
            key,
            client_ca: self.client_ca.or(other.client_ca),
            min_version: self.min_version.or(other.min_version),
        }
    }

    pub(super) fn complete(self) -> Result<TlsSettings, Failure> {
        let given = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(wrong("a TLS certificate is given without its key", "give --tls-key too"));
            }
            (None, Some(_)) => {
                return Err(wrong(
                    "a TLS key is given without its certificate",
                    "give --tls-certificate too",
                ));
            }
        };
        Ok(TlsSettings {
            given,
            client_ca: self.client_ca,
            allow_tls12: self.min_version == Some(MinVersion::Tls12),
        })
    }
}
