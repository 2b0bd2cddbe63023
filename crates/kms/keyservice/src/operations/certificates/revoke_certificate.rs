use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::ErrorClass;
use keystead_store::{Batch, Expect, Write};

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
        // Whose it is stands in the certificate, which the server does not keep: it may be a person's.
        Some(Permission::UserCredentialsRevoke)
    }

    fn target(&self) -> Resource {
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
        let stored = authorised.service().read::<CertificateState>(&record).await?;
        let expect = stored.as_ref().map_or(Expect::Absent, |stored| Expect::At(stored.revision));
        let mut state = stored.map(|stored| stored.value).unwrap_or_default();
        if state.revoke_time.is_some() {
            return Ok(());
        }
        state.revoke_time = Some(authorised.now());
        let mut batch = Batch::default();
        batch.writes.push(Write { name: record, expect, value: Some(encode(&state)?) });
        match authorised.commit(batch).await {
            // Somebody else was faster with its first record.
            Err(error) if error.class() == ErrorClass::AlreadyExists => Err(authorised.start_over(error)),
            committed => committed.map(drop),
        }
    }
}
