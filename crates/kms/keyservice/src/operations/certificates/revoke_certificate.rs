use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_store::Batch;

use crate::records::certificate::CertificateState;
use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Longest serial number, in hexadecimal digits: RFC 5280 allows 20 bytes, and a byte of zeros may stand before them.
const MAX_SERIAL: usize = 42;

/// Revokes one client certificate: from the next request on it does not count, also on open connections. Revoking it again
/// changes nothing.
pub struct RevokeCertificate {
    /// Its serial number in hexadecimal digits, as audit records have it. Colons and capitals are taken too.
    pub serial: String,
}

impl RevokeCertificate {
    /// The serial number in the form in which it is compared; none: it is not one.
    fn serial(&self) -> Option<String> {
        let digits: String = self.serial.chars().filter(|it| *it != ':').collect();
        let good =
            (1..=MAX_SERIAL).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_hexdigit());
        good.then(|| digits.to_ascii_lowercase())
    }
}

impl Operation for RevokeCertificate {
    type Output = ();

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "RevokeCertificate", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        // A certificate is a credential as a token is.
        Some(Permission::TokensRevoke)
    }

    fn target(&self) -> Resource {
        // Whose it is stands in the certificate, which the server does not keep.
        Resource::Server
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with_some("serial", self.serial())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let Some(serial) = authorised.command().serial() else {
            return Err(KmsError::invalid(
                "A serial number has 1 to 42 hexadecimal digits, as `openssl x509 -noout -serial` prints it.",
            ));
        };
        let record = record_name::certificate(&serial);
        if authorised.service().store.get(&record).await?.is_some() {
            return Ok(());
        }
        let state = CertificateState { revoke_time: Some(authorised.now()) };
        authorised.commit(Batch::default().put(record, encode(&state)?)).await?;
        Ok(())
    }
}
