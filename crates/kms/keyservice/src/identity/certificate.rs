use jiff::Timestamp;
use keystead_model::Principal;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What the URI of a subject alternative name begins with: `keystead:user:EMAIL`, `keystead:serviceAccount:EMAIL`.
pub(crate) const URI_PREFIX: &str = "keystead:";

/// Who a client certificate names. The transport has verified that an authority of ours signed it; it is read once for each
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The only principal in the certificate.
    pub principal: Principal,
    /// Hexadecimal, for the audit log.
    pub serial: String,
    /// The certificate does not count before.
    pub not_before: Timestamp,
    /// Nor after: a connection may outlive it.
    pub not_after: Timestamp,
}

/// A certificate that names nobody, or more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// It is not a certificate.
    #[error("the client certificate cannot be read")]
    Malformed,
    /// None, or more than one.
    #[error(
        "the client certificate must have exactly one URI keystead:user:EMAIL or keystead:serviceAccount:EMAIL as subject \
         alternative name"
    )]
    Principal,
}

impl ClientIdentity {
    /// Reads a certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidCertificate> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| InvalidCertificate::Malformed)?;
        if !rest.is_empty() {
            return Err(InvalidCertificate::Malformed);
        }
        let mut principals = Vec::new();
        for extension in certificate.extensions() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() {
                for name in &names.general_names {
                    if let GeneralName::URI(uri) = name
                        && let Some(principal) = uri.strip_prefix(URI_PREFIX)
                    {
                        principals.push(principal.parse().map_err(|_| InvalidCertificate::Principal)?);
                    }
                }
            }
        }
        let principal =
            principals.pop().filter(|_| principals.is_empty()).ok_or(InvalidCertificate::Principal)?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| InvalidCertificate::Malformed);
        let validity = certificate.validity();
        Ok(Self {
            principal,
            serial: hex::encode(certificate.raw_serial()),
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, SerialNumber};

    use super::*;

    fn certificate(uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host.example".to_owned()]).expect("a name");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().expect("ascii")));
        }
        params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xff]));
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn the_uri_names_the_principal() {
        let job = "serviceAccount:job-one@key-project.iam.gserviceaccount.com";
        let identity = ClientIdentity::from_der(&certificate(&[&format!("keystead:{job}")])).expect("one");
        assert_eq!(identity.principal.to_string(), job);
        assert_eq!(identity.serial, "0aff");
        assert!(identity.not_before < identity.not_after);
        let other = ["https://example.com/x", "keystead:user:Alice@example.com"];
        let identity = ClientIdentity::from_der(&certificate(&other)).expect("one");
        assert_eq!(identity.principal.to_string(), "user:alice@example.com");
    }

    #[test]
    fn a_certificate_that_names_nobody_or_two_is_refused() {
        for uris in [
            &[][..],
            &["keystead:"],
            &["keystead:group:g@example.com"],
            &["KEYSTEAD:user:a@example.com"],
            &["keystead:user:a@example.com", "keystead:user:b@example.com"],
            &["keystead:user:a@example.com", "keystead:nobody"],
            &["https://example.com/keystead:user:a@example.com"],
        ] {
            let refused = ClientIdentity::from_der(&certificate(uris)).expect_err("nobody");
            assert_eq!(refused, InvalidCertificate::Principal, "{uris:?}");
        }
        let whole = certificate(&["keystead:user:a@example.com"]);
        for len in 0..whole.len() {
            assert_eq!(ClientIdentity::from_der(&whole[..len]), Err(InvalidCertificate::Malformed), "{len}");
        }
    }
}
