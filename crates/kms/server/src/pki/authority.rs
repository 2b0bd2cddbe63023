use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{BACKDATED, PkiError, Validity, files, serial, set_validity};

/// Ten years: a change of it needs the attention of every client, so it is rare.
const LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// A certificate that signs, and its key.
pub(super) struct Authority {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) validity: Validity,
    key: KeyPair,
}

impl Authority {
    /// A new one, with a name of its own: two authorities of one name confuse verifiers.
    pub(super) fn make(now: Timestamp) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let serial = serial()?;
        let name = hex::encode(serial.to_bytes().get(..4).unwrap_or_default());
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("Keystead certificate authority {name}"));
        params.serial_number = Some(serial);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let validity = set_validity(&mut params, now, BACKDATED, LIFETIME);
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { certificate, validity, key })
    }

    /// From its file; none when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, PkiError> {
        let Some((key, certificate)) = files::read_pair(path)? else { return Ok(None) };
        let problem =
            |problem: &str| PkiError::Content { path: path.to_owned(), problem: problem.to_owned() };
        let validity = validity(&certificate).ok_or_else(|| problem("the certificate cannot be read"))?;
        Ok(Some(Self { certificate, validity, key }))
    }

    /// To its file.
    pub(super) fn write(self, path: &Path) -> Result<Self, PkiError> {
        self.keep(path)?;
        Ok(self)
    }

    /// To another file than its own.
    pub(super) fn keep(&self, path: &Path) -> Result<(), PkiError> {
        files::write_pair(path, &self.key, &self.certificate)
    }

    /// For signing.
    pub(super) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, PkiError> {
        Ok(Issuer::from_ca_cert_der(&self.certificate, &self.key)?)
    }
}

/// Both ends.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Validity {
        from: Timestamp::from_second(parsed.validity().not_before.timestamp()).ok()?,
        until: Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?,
    })
}

/// The last moment.
pub(super) fn expires(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    validity(certificate).map(|validity| validity.until)
}
