use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keystead_crypto::sha256;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use zeroize::Zeroizing;

use super::authority::Authority;
use super::{PkiError, files, serial, set_validity};

/// A client that cannot renew within a year will not renew at all.
const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);
/// The path of a URI is a resource name at most.
const MAX_URI_LEN: usize = 512;

/// Whose key the certificate is for.
#[derive(Clone, Copy, Debug)]
pub enum ClientKey<'a> {
    /// A new one, handed out with the certificate.
    New,
    /// The key of this signing request (PEM). Nothing else in the request is taken over.
    Request(&'a str),
}

/// A client certificate.
pub struct IssuedCertificate {
    /// PEM.
    pub certificate: String,
    /// PEM; only with [`ClientKey::New`].
    pub key: Option<Zeroizing<String>>,
    /// Hexadecimal, lower case.
    pub serial: String,
    /// The last moment.
    pub not_after: Timestamp,
}

/// SHA-256 of the public key in a signing request (PEM), hexadecimal.
pub fn public_key_digest(signing_request: &str) -> Result<String, PkiError> {
    let request = read_request(signing_request)?;
    Ok(hex::encode(sha256(&request.public_key.subject_public_key_info())))
}

fn read_request(pem: &str) -> Result<CertificateSigningRequestParams, PkiError> {
    CertificateSigningRequestParams::from_pem(pem)
        .map_err(|error| PkiError::Invalid(format!("not a good signing request: {error}")))
}

/// Signs a certificate whose only name is `uri`.
pub(super) fn issue(
    authority: &Authority,
    key: ClientKey<'_>,
    uri: &str,
    lifetime: Duration,
    now: Timestamp,
) -> Result<IssuedCertificate, PkiError> {
    if uri.len() > MAX_URI_LEN || !uri.contains(':') || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(PkiError::Invalid(format!("{uri:?} is not a URI for a certificate")));
    }
    let uri = Ia5String::try_from(uri)?;
    let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
    if lifetime <= SignedDuration::ZERO || lifetime > LONGEST {
        return Err(PkiError::Invalid("a client certificate lives for a year at most".to_owned()));
    }
    let serial = serial()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Keystead client");
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.serial_number = Some(serial.clone());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let left = authority.validity.until.duration_since(now).max(SignedDuration::ZERO);
    // Our clock alone judges it. And its beginning says that it is younger than the account that it names.
    let validity = set_validity(&mut params, now, SignedDuration::ZERO, lifetime.min(left));
    let issuer = authority.issuer()?;
    let (certificate, key) = match key {
        ClientKey::New => {
            let key = KeyPair::generate()?;
            (params.signed_by(&key, &issuer)?, Some(Zeroizing::new(key.serialize_pem())))
        }
        ClientKey::Request(pem) => {
            let request = read_request(pem)?;
            (params.signed_by(&request.public_key, &issuer)?, None)
        }
    };
    Ok(IssuedCertificate {
        certificate: files::certificates_to_pem(&[certificate.der().clone()]),
        key,
        serial: hex::encode(serial.to_bytes()),
        not_after: validity.until,
    })
}
