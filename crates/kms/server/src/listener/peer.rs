//! Who is at the other end of a connection, as far as the connection itself says.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keystead_keyservice::{ClientIdentity, InvalidCertificate};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// An extension of every request: `Arc<Peer>`, one for each connection.
#[derive(Debug)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// It came through TLS.
    pub tls: bool,
    /// The client's certificate, verified against our certificate authority or the configured one.
    pub certificate: Option<ClientCertificate>,
    /// The connection's own, see `watch.rs`.
    pub(super) identified: Arc<AtomicBool>,
}

impl Peer {
    /// Of a connection on which nobody has shown yet who calls.
    pub fn new(address: SocketAddr, tls: bool, certificate: Option<ClientCertificate>) -> Self {
        Self { address, tls, certificate, identified: Arc::default() }
    }

    /// Somebody has shown who calls, so that the connection does not give way to others.
    pub fn identified(&self) {
        self.identified.store(true, Ordering::Relaxed);
    }

    /// The client runs on this host.
    pub fn is_local(&self) -> bool {
        match self.address.ip().to_canonical() {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => address.is_loopback(),
        }
    }
}

/// A verified client certificate, read once for the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whom it names, for the key service; one that names nobody is no credential.
    pub identity: Result<ClientIdentity, InvalidCertificate>,
    /// Hexadecimal, lower case.
    pub serial: String,
    /// Names of the form `URI:` in order.
    pub uris: Vec<String>,
    /// Seconds since 1970.
    pub not_after: i64,
}

impl ClientCertificate {
    /// Reads what rustls has verified. `None` when a second reader does not understand it: then it is not used.
    pub fn parse(der: &CertificateDer<'_>) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let names = certificate.subject_alternative_name().ok()?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
        Some(Self {
            identity: ClientIdentity::from_der(der),
            serial: hex::encode(certificate.raw_serial()),
            uris: uris.collect(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}
