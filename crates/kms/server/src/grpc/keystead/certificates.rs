use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use keystead_keyservice::operations::{IssueCertificate, RevokeCertificate, Sign, SignedCertificate};
use keystead_keyservice::{KmsError, MethodKind};
use keystead_model::ErrorClass;
use keystead_proto::keystead_v1 as proto;
use keystead_proto::keystead_v1::certificates_server::Certificates;
use tonic::{Request, Response};

use super::{account, method, principal};
use crate::grpc::call::Begun;
use crate::grpc::time::{to_proto, whole_seconds};
use crate::grpc::{Adapter, Answer};
use crate::pki::{ClientKey, Pki, PkiError};

#[tonic::async_trait]
impl Certificates for Adapter {
    async fn issue_certificate(
        &self,
        request: Request<proto::IssueCertificateRequest>,
    ) -> Answer<proto::IssueCertificateResponse> {
        let (call, request) = self.begin(request, method("IssueCertificate", MethodKind::AdminWrite)).await?;
        let Some(authority) = &self.authority else {
            let text = "This server has no certificate authority: it was started without TLS.";
            let error = KmsError::new(ErrorClass::FailedPrecondition, text);
            return Err(call.refuse("", &error).await);
        };
        let signed = call.run(&account(&request.principal), command(&call, request, authority).await).await?;
        Ok(Response::new(proto::IssueCertificateResponse {
            certificate_pem: signed.pem,
            authority_pem: authority.ca_pem(),
            serial_number: signed.serial,
            expire_time: Some(to_proto(signed.not_after)),
        }))
    }

    async fn revoke_certificate(&self, request: Request<proto::RevokeCertificateRequest>) -> Answer<()> {
        let (call, request) =
            self.begin(request, method("RevokeCertificate", MethodKind::AdminWrite)).await?;
        let command = RevokeCertificate { serial: request.serial_number };
        Ok(Response::new(call.run("", Ok(command)).await?))
    }
}

async fn command(
    call: &Begun<'_>,
    request: proto::IssueCertificateRequest,
    authority: &Arc<Pki>,
) -> Result<IssueCertificate, KmsError> {
    let principal = principal(&request.principal)?;
    let ttl = request.ttl.map(|ttl| whole_seconds("ttl", ttl).map(SignedDuration::from_secs)).transpose()?;
    let sign = sign(Arc::clone(authority), request.signing_request_pem);
    IssueCertificate::new(call.keyservice(), principal, ttl, sign).await
}

fn sign(authority: Arc<Pki>, signing_request: String) -> Box<Sign> {
    Box::new(move |uri: &str, now: Timestamp, ttl: SignedDuration| {
        // A negative one is refused as none is.
        let lifetime = std::time::Duration::try_from(ttl).unwrap_or_default();
        let key = ClientKey::Request(&signing_request);
        let issued = authority.issue_client_certificate(key, uri, lifetime, now).map_err(refused)?;
        Ok(SignedCertificate { pem: issued.certificate, serial: issued.serial, not_after: issued.not_after })
    })
}

fn refused(error: PkiError) -> KmsError {
    if let PkiError::Invalid(text) = error {
        return KmsError::invalid(format!("{text}."));
    }
    tracing::error!(%error, "a client certificate cannot be signed");
    KmsError::new(ErrorClass::Bug, "the certificate cannot be signed; the server's log says why")
}
