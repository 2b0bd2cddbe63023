//! Client certificates: issued and revoked.

mod issue_certificate;
mod revoke_certificate;

pub use issue_certificate::{IssueCertificate, Sign, SignedCertificate};
pub use revoke_certificate::RevokeCertificate;
