//! gRPC, and REST through it: from a message to a command of the key service and back. No rule of who may do what is here,
//! only what a message must be like. Read [`Api`] first, then `cloud_kms/mod.rs`.

mod call;
mod call_id;
mod checksum;
mod cloud_kms;
mod finished;
mod iam;
mod iam_policy;
mod keystead;
mod locations;
pub(crate) mod methods;
mod operations;
mod projects;
mod service_usage;
mod status;
mod time;
mod unserved;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Extensions, HeaderMap, Request, Response};
use keystead_keyservice::{BackupStore, KeyService};
use keystead_proto::cloud_kms::key_management_service_server::KeyManagementServiceServer;
use keystead_proto::iam_admin::iam_server::IamServer;
use keystead_proto::iam_policy::iam_policy_server::IamPolicyServer;
use keystead_proto::keystead_v1::audit_server::AuditServer;
use keystead_proto::keystead_v1::backups_server::BackupsServer;
use keystead_proto::keystead_v1::certificates_server::CertificatesServer;
use keystead_proto::keystead_v1::server_policy_server::ServerPolicyServer;
use keystead_proto::keystead_v1::tokens_server::TokensServer;
use keystead_proto::keystead_v1::usage_server::UsageServer;
use keystead_proto::locations::locations_server::LocationsServer;
use keystead_proto::longrunning::operations_server::OperationsServer;
use keystead_proto::service_usage::service_usage_server::ServiceUsageServer;
use keystead_proto::{resource_manager_v1, resource_manager_v3};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Service, ServiceExt as _};

use crate::listener::Peer;
use crate::metrics::Served;
use crate::pki::Pki;
use crate::rest::{Gateway, MAX_BODY_LEN, RouteError, code_name, token};
use call_id::CallId;
use methods::Known;

/// Generated servers have no type in common.
macro_rules! serve {
    ($server:ty, $adapter:expr, $request:expr) => {
        call(<$server>::from_arc($adapter).max_decoding_message_size(MAX_BODY_LEN), $request).await
    };
}

pub(crate) use call::origin;

/// What a method answers.
type Answer<T> = Result<tonic::Response<T>, Status>;

/// Implements every generated service.
pub(crate) struct Adapter {
    keyservice: Arc<KeyService>,
    /// Signs client certificates; none without TLS.
    authority: Option<Arc<Pki>>,
    /// Takes backups; none where no folder is configured.
    backups: Option<Arc<dyn BackupStore>>,
}

/// Every API of the server, gRPC and REST. Takes any request; each carries an `Arc<Peer>` as an extension.
#[derive(Clone)]
pub struct Api {
    adapter: Arc<Adapter>,
    gateway: Arc<Gateway>,
}

impl Api {
    /// Puts the adapters in front of a key service.
    pub fn new(keyservice: Arc<KeyService>) -> Result<Self, RouteError> {
        let adapter = Adapter { keyservice, authority: None, backups: None };
        Ok(Self { adapter: Arc::new(adapter), gateway: Arc::new(Gateway::new()?) })
    }

    /// With an authority there are client certificates to be had.
    #[must_use]
    pub fn with_authority(self, authority: Arc<Pki>) -> Self {
        let Adapter { keyservice, backups, .. } = &*self.adapter;
        let (keyservice, backups) = (Arc::clone(keyservice), backups.clone());
        Self { adapter: Arc::new(Adapter { keyservice, authority: Some(authority), backups }), ..self }
    }

    /// With a folder there are backups to be had.
    #[must_use]
    pub fn with_backups(self, folder: Arc<dyn BackupStore>) -> Self {
        let Adapter { keyservice, authority, .. } = &*self.adapter;
        let (keyservice, authority) = (Arc::clone(keyservice), authority.clone());
        Self { adapter: Arc::new(Adapter { keyservice, authority, backups: Some(folder) }), ..self }
    }

    /// Every REST path that is known.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    async fn answer(self, mut request: Request<Body>) -> Response<Body> {
        let id = CallId::default();
        request.extensions_mut().insert(id.clone());
        let mut response = self.route(request, &id).await;
        id.add_to(response.headers_mut());
        response
    }

    async fn route(self, request: Request<Body>, id: &CallId) -> Response<Body> {
        if request.uri().path() == token::PATH {
            return token::exchange(&self.adapter.keyservice, request).await;
        }
        let (headers, extensions) = credentials(&request);
        let adapter = Arc::clone(&self.adapter);
        let response = self.transport(request).await;
        if !id.is_set() {
            adapter.count_unread(&headers, &extensions).await;
        }
        response
    }

    async fn transport(self, request: Request<Body>) -> Response<Body> {
        let is_grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        if is_grpc {
            return self.adapter.answer(request).await;
        }
        let adapter = self.adapter;
        let grpc = tower::service_fn(move |request| adapter.clone().answer(request).map(Ok));
        self.gateway.call(request, grpc).await
    }
}

/// What of a request says who calls.
fn credentials(request: &Request<Body>) -> (HeaderMap, Extensions) {
    let mut headers = HeaderMap::new();
    for value in request.headers().get_all(AUTHORIZATION) {
        headers.append(AUTHORIZATION, value.clone());
    }
    let mut extensions = Extensions::new();
    if let Some(peer) = request.extensions().get::<Arc<Peer>>() {
        extensions.insert(Arc::clone(peer));
    }
    (headers, extensions)
}

impl Service<Request<Body>> for Api {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().answer(request).map(Ok).boxed()
    }
}

impl Adapter {
    /// Answers one gRPC call, and says for the metrics which it was.
    async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let Some(known) = methods::known(request.uri().path()) else {
            return Status::unimplemented("There is no such method here.").into_http();
        };
        let mut response = if known.served {
            self.serve(request).await
        } else {
            let (head, _) = request.into_parts();
            self.refuse_unserved(known, &head).await.into_http()
        };
        let failure = Status::from_header_map(response.headers());
        let code = code_name(failure.map_or(Code::Ok, |status| status.code()));
        response.extensions_mut().insert(Served { method: known.name(), code });
        response
    }

    async fn refuse_unserved(&self, known: &'static Known, head: &http::request::Parts) -> Status {
        let method = unserved::audited(known);
        match self.begin_with(&head.headers, &head.extensions, method).await {
            Ok(call) => call.refuse("", &unserved::sentence(method)).await,
            Err(unknown) => unknown,
        }
    }

    async fn serve(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        match service.map(|(service, _)| service) {
            Some("google.cloud.kms.v1.KeyManagementService") => {
                serve!(KeyManagementServiceServer<Adapter>, self, request)
            }
            Some("google.iam.v1.IAMPolicy") => serve!(IamPolicyServer<Adapter>, self, request),
            Some("google.cloud.location.Locations") => serve!(LocationsServer<Adapter>, self, request),
            Some("google.longrunning.Operations") => serve!(OperationsServer<Adapter>, self, request),
            Some("google.cloudresourcemanager.v1.Projects") => {
                serve!(resource_manager_v1::projects_server::ProjectsServer<Adapter>, self, request)
            }
            Some("google.cloud.resourcemanager.v3.Projects") => {
                serve!(resource_manager_v3::projects_server::ProjectsServer<Adapter>, self, request)
            }
            Some("google.api.serviceusage.v1.ServiceUsage") => {
                serve!(ServiceUsageServer<Adapter>, self, request)
            }
            Some("google.iam.admin.v1.IAM") => serve!(IamServer<Adapter>, self, request),
            Some("keystead.v1.Tokens") => serve!(TokensServer<Adapter>, self, request),
            Some("keystead.v1.Usage") => serve!(UsageServer<Adapter>, self, request),
            Some("keystead.v1.Backups") => serve!(BackupsServer<Adapter>, self, request),
            Some("keystead.v1.Audit") => serve!(AuditServer<Adapter>, self, request),
            Some("keystead.v1.ServerPolicy") => serve!(ServerPolicyServer<Adapter>, self, request),
            Some("keystead.v1.Certificates") => serve!(CertificatesServer<Adapter>, self, request),
            _ => Status::unimplemented("There is no such service here.").into_http(),
        }
    }
}

async fn call<S>(server: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let Ok(response) = server.oneshot(request).await;
    response
}
