//! Opens connections: TLS 1.3 with a known authority, HTTP/2 agreed on, or nothing is sent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use keystead_model::ErrorClass;
use keystead_provider::ProviderError;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;
use tower::{Service, ServiceExt, service_fn};

use crate::Endpoint;
use crate::watched::{ClientRefused, Watched};

/// Longest time for TCP and TLS together. The guard gives a whole call 2.5 s, so that a connection that takes longer
/// would come too late for the call that asked for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How soon a connection that is silent is asked whether it is alive. Probes come more often where all is well, so that
/// servers see few of these.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long the other side may take to say that it is.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest header block of an answer; real ones have a few hundred bytes.
const MAX_HEADERS: u32 = 16 * 1024;

/// A connection that is opened with the first call, and again after each loss. Needs a runtime.
pub(crate) fn connect(
    endpoint: &Endpoint,
    tls: Option<&Arc<ClientConfig>>,
    refused: &ClientRefused,
) -> Result<Channel, ProviderError> {
    let bug = |error: tonic::transport::Error| ProviderError::new(ErrorClass::Bug, error.to_string());
    let transport = tonic::transport::Endpoint::from_shared(endpoint.place())
        .map_err(bug)?
        .origin(endpoint.origin())
        .user_agent(concat!("keystead-plugin/", env!("CARGO_PKG_VERSION")))
        .map_err(bug)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(MAX_HEADERS);
    let dial = Dial {
        endpoint: endpoint.clone(),
        tls: tls.map(|config| TlsConnector::from(Arc::clone(config))),
        refused: refused.clone(),
    };
    Ok(transport.connect_with_connector_lazy(service_fn(move |place| {
        let dial = dial.clone();
        async move { dial.open(place).await }
    })))
}

#[derive(Clone)]
struct Dial {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    refused: ClientRefused,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Dial {
    async fn open(self, place: Uri) -> Result<TokioIo<Box<dyn Stream>>, ProviderError> {
        self.refused.clear();
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        let unreachable = || {
            let text = format!("cannot connect to {}", self.endpoint);
            ProviderError::new(ErrorClass::Unavailable, text)
        };
        let tcp = http.ready().await.map_err(|_| unreachable())?.call(place).await;
        let tcp = tcp.map_err(|_| unreachable())?.into_inner();
        let Some(tls) = &self.tls else { return Ok(TokioIo::new(Box::new(tcp))) };
        let name = ServerName::try_from(self.endpoint.host().to_owned()).map_err(|_| {
            ProviderError::new(ErrorClass::Misconfigured, format!("{} has no name for TLS", self.endpoint))
        })?;
        let stream = tls.connect(name, tcp).await.map_err(|error| self.refused(&error))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            let text = format!("{} does not agree to HTTP/2, so it is not a KMS with gRPC", self.endpoint);
            return Err(ProviderError::new(ErrorClass::Misconfigured, text));
        }
        Ok(TokioIo::new(Box::new(Watched { inner: stream, refused: self.refused })))
    }

    /// What is wrong with a server's certificate is no outage: it does not pass by itself.
    fn refused(&self, error: &io::Error) -> ProviderError {
        let at = &self.endpoint;
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let problem = match tls {
            Some(rustls::Error::InvalidCertificate(certificate)) => describe(certificate),
            Some(rustls::Error::AlertReceived(_)) => "refuses TLS with us",
            Some(rustls::Error::PeerIncompatible(_)) => "does not speak TLS 1.3",
            Some(_) => "does not speak TLS as it should",
            None => {
                let text = format!("the connection to {at} broke while TLS began");
                return ProviderError::new(ErrorClass::Unavailable, text);
            }
        };
        ProviderError::new(ErrorClass::Misconfigured, format!("{at} {problem}"))
    }
}

fn describe(error: &CertificateError) -> &'static str {
    match error {
        // An authority that was made anew has the name of the old one, and then it is the signature that is wrong.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "shows a certificate of an authority that is not trusted here: check the CA file"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "shows a certificate that has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "shows a certificate that is not valid yet: check the clocks"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "shows a certificate for another name"
        }
        CertificateError::Revoked => "shows a certificate that was revoked",
        _ => "shows a certificate that is not acceptable",
    }
}
