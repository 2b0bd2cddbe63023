use jiff::{SignedDuration, Timestamp};
use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::{Principal, to_microseconds};
use keystead_store::Batch;

use crate::identity::URI_PREFIX;
use crate::records::certificate::CertificateState;
use crate::records::{encode, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// The life of a certificate when none is asked for.
const DEFAULT_TTL: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Has a client certificate signed. The authority's key belongs to the transport, which signs; whether it may is decided
/// here.
pub struct IssueCertificate {
    principal: Principal,
    owner: Resource,
    ttl: SignedDuration,
    sign: Box<Sign>,
}

/// Signs for a URI, from a time on, for so long.
pub type Sign = dyn Fn(&str, Timestamp, SignedDuration) -> Result<SignedCertificate, KmsError> + Send + Sync;

/// A certificate that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCertificate {
    /// PEM.
    pub pem: String,
    /// Hexadecimal: what audit records name.
    pub serial: String,
    /// The last moment.
    pub not_after: Timestamp,
}

impl IssueCertificate {
    /// For `principal`; without `ttl` for 90 days.
    pub async fn new(
        service: &KeyService,
        principal: Principal,
        ttl: Option<SignedDuration>,
        sign: Box<Sign>,
    ) -> Result<Self, KmsError> {
        let (owner, _) = service.credential_owner(&principal).await?;
        Ok(Self { principal, owner, ttl: ttl.unwrap_or(DEFAULT_TTL), sign })
    }
}

impl Operation for IssueCertificate {
    type Output = SignedCertificate;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "IssueCertificate", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        // A certificate is a credential as a token is.
        Some(match self.principal {
            Principal::User(_) => Permission::UserCredentialsCreate,
            Principal::ServiceAccount(_) => Permission::TokensCreate,
        })
    }

    fn target(&self) -> Resource {
        self.owner.clone()
    }

    fn describe(&self) -> SafeFields {
        let fields = SafeFields::new().with("principal", self.principal.to_string());
        fields.with("ttlSeconds", self.ttl.as_secs())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<SignedCertificate, KmsError> {
        let Self { principal, ttl, sign, .. } = authorised.command();
        let principal = principal.clone();
        authorised.service().require_principal(&principal).await?;
        let (signed, batch) = signed(sign, principal, authorised.now(), *ttl)?;
        authorised.outcome().response =
            SafeFields::new().with("serial", signed.serial.as_str()).with("expireTime", signed.not_after);
        authorised.commit(batch).await?;
        Ok(signed)
    }
}

/// A certificate of a principal, and the batch with its record. Nobody may have it before that is committed.
pub(in crate::operations) fn signed(
    sign: &Sign,
    principal: Principal,
    now: Timestamp,
    ttl: SignedDuration,
) -> Result<(SignedCertificate, Batch), KmsError> {
    let signed = sign(&format!("{URI_PREFIX}{principal}"), now, ttl)?;
    let state = CertificateState {
        principal: Some(principal),
        issue_time: Some(to_microseconds(now)),
        expire_time: Some(signed.not_after),
        ..CertificateState::default()
    };
    let batch = Batch::default().create(record_name::certificate(&signed.serial), encode(&state)?);
    Ok((signed, batch))
}
