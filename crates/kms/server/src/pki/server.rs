use std::net::IpAddr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::{Authority, validity};
use super::{BACKDATED, PkiError, Validity, files, serial, set_validity};

/// Renewed after 60 days.
const LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The server's certificate and its key.
pub(super) struct ServerIdentity {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) validity: Validity,
    pub(super) key: KeyPair,
}

impl ServerIdentity {
    /// A new key and a certificate for these names.
    pub(super) fn make(authority: &Authority, names: &[String], now: Timestamp) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Keystead server");
        params.serial_number = Some(serial()?);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let left = authority.validity.until.duration_since(now).max(SignedDuration::ZERO);
        let validity = set_validity(&mut params, now, BACKDATED, LIFETIME.min(left));
        let certificate = params.signed_by(&key, &authority.issuer()?)?.der().clone();
        Ok(Self { certificate, validity, key })
    }

    /// From its file; none when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, PkiError> {
        let Some((key, certificate)) = files::read_pair(path)? else { return Ok(None) };
        let Some(validity) = validity(&certificate) else {
            let problem = "the certificate cannot be read".to_owned();
            return Err(PkiError::Content { path: path.to_owned(), problem });
        };
        Ok(Some(Self { certificate, validity, key }))
    }

    /// To its file.
    pub(super) fn write(self, path: &Path) -> Result<Self, PkiError> {
        files::write_pair(path, &self.key, &self.certificate)?;
        Ok(self)
    }

    /// It is for exactly these names, and `authority` has signed it.
    pub(super) fn fits(&self, authority: &Authority, names: &[String]) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(&self.certificate) else { return false };
        let Ok((_, issuer)) = X509Certificate::from_der(&authority.certificate) else { return false };
        if parsed.issuer().as_raw() != issuer.subject().as_raw() {
            return false;
        }
        let Ok(Some(extension)) = parsed.subject_alternative_name() else { return false };
        let said = extension.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        });
        said.eq(names.iter().cloned())
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(bytes.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}
