//! Client certificates: issued, listed and revoked.

mod issue_certificate;
mod list_certificates;
mod revoke_certificate;

pub(super) use issue_certificate::signed;
pub use issue_certificate::{IssueCertificate, Sign, SignedCertificate};
pub use list_certificates::{CertificatePage, KnownCertificate, ListCertificates};
pub use revoke_certificate::RevokeCertificate;
