use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use keystead_keyservice::operations::{
    IssueCertificate, KnownCertificate, ListCertificates, RevokeCertificate, Sign, SignedCertificate,
};
use keystead_keyservice::{KmsError, MethodKind};
use keystead_model::{ErrorChain, ErrorClass};
use keystead_proto::keystead_v1 as proto;
use keystead_proto::keystead_v1::certificates_server::Certificates;
use tonic::{Request, Response};

use super::{account, address, method, page, principal};
use crate::grpc::call::IdentifiedCall;
use crate::grpc::time::{to_proto, whole_seconds};
use crate::grpc::{Adapter, Answer};
use crate::pki::{ClientKey, Pki, PkiError};

#[tonic::async_trait]
impl Certificates for Adapter {
    async fn issue_certificate(
        &self,
        request: Request<proto::IssueCertificateRequest>,
    ) -> Answer<proto::IssueCertificateResponse> {
        let (call, request) =
            self.identify(request, method("IssueCertificate", MethodKind::AdminWrite)).await?;
        let Some(authority) = &self.authority else { return Err(call.refuse("", &no_authority()).await) };
        let signed = call.run(&account(&request.principal), command(&call, request, authority).await).await?;
        Ok(Response::new(proto::IssueCertificateResponse {
            certificate_pem: signed.pem,
            authority_pem: authority.ca_pem(),
            serial_number: signed.serial,
            expire_time: Some(to_proto(signed.not_after)),
        }))
    }

    async fn list_certificates(
        &self,
        request: Request<proto::ListCertificatesRequest>,
    ) -> Answer<proto::ListCertificatesResponse> {
        let (call, request) =
            self.identify(request, method("ListCertificates", MethodKind::AdminRead)).await?;
        let found = call.run(&account(&request.principal), list(&call, request).await).await?;
        Ok(Response::new(proto::ListCertificatesResponse {
            certificates: found.certificates.iter().map(certificate).collect(),
            next_page_token: found.next_page_token.unwrap_or_default(),
        }))
    }

    async fn revoke_certificate(&self, request: Request<proto::RevokeCertificateRequest>) -> Answer<()> {
        let (call, request) =
            self.identify(request, method("RevokeCertificate", MethodKind::AdminWrite)).await?;
        let command = RevokeCertificate { serial: request.serial_number };
        Ok(Response::new(call.run("", Ok(command)).await?))
    }
}

/// Nothing can be signed.
pub(super) fn no_authority() -> KmsError {
    let text = "This server has no certificate authority: it was started without TLS.";
    KmsError::new(ErrorClass::FailedPrecondition, text)
}

async fn list(
    call: &IdentifiedCall<'_>,
    request: proto::ListCertificatesRequest,
) -> Result<ListCertificates, KmsError> {
    let (principal, page_size) = page(&request.principal, request.page_size)?;
    ListCertificates::new(call.keyservice(), principal, page_size, request.page_token).await
}

fn certificate(KnownCertificate { serial, state }: &KnownCertificate) -> proto::Certificate {
    proto::Certificate {
        serial_number: serial.clone(),
        principal: state.principal.as_ref().map(ToString::to_string).unwrap_or_default(),
        issue_time: state.issue_time.map(to_proto),
        expire_time: state.expire_time.map(to_proto),
        revoke_time: state.revoke_time.map(to_proto),
        last_use_time: state.last_use.map(|last| to_proto(last.time)),
        last_use_address: address(state.last_use),
    }
}

async fn command(
    call: &IdentifiedCall<'_>,
    request: proto::IssueCertificateRequest,
    authority: &Arc<Pki>,
) -> Result<IssueCertificate, KmsError> {
    let principal = principal(&request.principal)?;
    let ttl = request.ttl.map(|ttl| whole_seconds("ttl", ttl).map(SignedDuration::from_secs)).transpose()?;
    let sign = sign(Arc::clone(authority), request.signing_request_pem);
    IssueCertificate::new(call.keyservice(), principal, ttl, sign).await
}

/// Has the authority sign what a request asks for.
pub(super) fn sign(authority: Arc<Pki>, signing_request: String) -> Box<Sign> {
    Box::new(move |uri: &str, now: Timestamp, ttl: SignedDuration| {
        // A negative one is refused as none is.
        let lifetime = std::time::Duration::try_from(ttl).unwrap_or_default();
        let key = ClientKey::Request(&signing_request);
        let issued = authority.issue_client_certificate(key, uri, lifetime, now).map_err(refused)?;
        Ok(SignedCertificate { pem: issued.certificate, serial: issued.serial, not_after: issued.not_after })
    })
}

/// An error of the authority, as its caller is told.
pub(super) fn refused(error: PkiError) -> KmsError {
    if let PkiError::Invalid(text) = error {
        return KmsError::invalid(format!("{text}."));
    }
    tracing::error!(error = %ErrorChain(&error), "a client certificate cannot be signed");
    KmsError::new(ErrorClass::Bug, "the certificate cannot be signed; the server's log says why")
}
