//! TLS 1.3 over AWS-LC, with authorities and a client certificate from PEM.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use crate::Expiry;

/// Who may vouch for the service.
pub(crate) enum Roots {
    /// What the system trusts.
    System,
    /// Certificates in PEM, and nobody else.
    Pem(Vec<u8>),
}

/// A client certificate with its chain and its private key, in PEM.
pub(crate) struct ClientIdentity {
    pub(crate) certificates: Vec<u8>,
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// The configuration, and when the certificates in it end.
pub(crate) fn client_config(
    roots: &Roots,
    client: Option<ClientIdentity>,
) -> Result<(ClientConfig, Vec<Expiry>), TlsError> {
    let mut expiries = Vec::new();
    let mut store = RootCertStore::empty();
    match roots {
        // What cannot be read of the system's certificates is missing, and then no server is trusted for it.
        Roots::System => {
            let system = rustls_native_certs::load_native_certs().certs;
            let (_good, _unreadable) = store.add_parsable_certificates(system);
        }
        Roots::Pem(text) => {
            // While an authority is being changed there are two, and the old one may end without harm.
            let mut ends = Vec::new();
            for certificate in certificates(text, TlsError::Ca)? {
                ends.push(end_of(&certificate, TlsError::Ca)?);
                store.add(certificate).map_err(|_| TlsError::Ca)?;
            }
            let last = ends.into_iter().max();
            expiries.extend(last.map(|at| Expiry { what: "the CA certificate".to_owned(), at }));
        }
    }
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| TlsError::Ca)?
        .with_root_certificates(store);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(ClientIdentity { certificates: chain, key }) => {
            let chain = certificates(&chain, TlsError::ClientCertificate)?;
            if let Some(first) = chain.first() {
                let at = end_of(first, TlsError::ClientCertificate)?;
                expiries.push(Expiry { what: "the client certificate".to_owned(), at });
            }
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::ClientKey)?;
            builder.with_client_auth_cert(chain, key).map_err(|_| TlsError::ClientKey)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((config, expiries))
}

/// One certificate or more.
fn certificates(text: &[u8], problem: TlsError) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|_| problem)?;
    if all.is_empty() { Err(problem) } else { Ok(all) }
}

fn end_of(certificate: &CertificateDer<'_>, problem: TlsError) -> Result<SystemTime, TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| problem)?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| problem)?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Why TLS cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate authority.
    #[error("the CA of the key service is not a certificate in PEM")]
    Ca,
    /// Our certificate.
    #[error("the client certificate is not a certificate in PEM")]
    ClientCertificate,
    /// Its key.
    #[error("the client key is not a private key in PEM, or not of this certificate")]
    ClientKey,
}
