//! Every API of the server on one service: each request goes to the gRPC services, through REST to them, to the exchange of
//! tokens, or to the console. What a method answers to a caller who is known names the call.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::USER_AGENT;
use http::{Request, Response};
use http_body_util::Full;
use keystead_console::Console;
use keystead_keyservice::KeyService;
use keystead_keyservice::operations::BackupStore;
use tonic::body::Body;
use tower::Service;

use crate::grpc::{Adapter, CallId, Credentials};
use crate::local_clusters::LocalStates;
use crate::methods::{Served, code_of_http, is_grpc};
use crate::pki::Pki;
use crate::rest::{Gateway, RouteError, token};

/// Every API of the server, gRPC and REST. Takes any request; each carries an `Arc<Peer>` as an extension.
#[derive(Clone)]
pub struct Api {
    adapter: Arc<Adapter>,
    gateway: Arc<Gateway>,
    console: Arc<Console>,
}

impl Api {
    /// Puts the adapters in front of a key service.
    pub fn new(keyservice: Arc<KeyService>) -> Result<Self, RouteError> {
        let console = Arc::new(Console::new(Arc::clone(&keyservice)));
        let adapter = Adapter { keyservice, authority: None, backups: None, local_clusters: Arc::default() };
        Ok(Self { adapter: Arc::new(adapter), gateway: Arc::new(Gateway::new()?), console })
    }

    /// With an authority there are client certificates to be had.
    #[must_use]
    pub fn with_authority(mut self, authority: Arc<Pki>) -> Self {
        Arc::make_mut(&mut self.adapter).authority = Some(authority);
        self
    }

    /// With a folder there are backups to be had.
    #[must_use]
    pub fn with_backups(mut self, folder: Arc<dyn BackupStore>) -> Self {
        Arc::make_mut(&mut self.adapter).backups = Some(folder);
        self
    }

    /// With local clusters there is somewhere to reach them.
    #[must_use]
    pub(crate) fn with_local_clusters(mut self, states: LocalStates) -> Self {
        Arc::make_mut(&mut self.adapter).local_clusters = states;
        self
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
        let credentials = Credentials::of(request.headers(), request.extensions());
        if request.uri().path() == token::PATH {
            let origin = credentials.origin(request.headers().get(USER_AGENT));
            return token::exchange(&self.adapter.keyservice, origin, request).await;
        }
        if Console::serves(request.uri().path()) && !is_grpc(request.headers()) {
            let origin = credentials.origin(request.headers().get(USER_AGENT));
            let mut response =
                self.console.answer(request, origin).await.map(|page| Body::new(Full::new(page)));
            let code = code_of_http(response.status());
            response.extensions_mut().insert(Served { method: "Console", code });
            return response;
        }
        let adapter = Arc::clone(&self.adapter);
        let response = self.transport(request).await;
        if !id.is_set() {
            adapter.count_unread(&credentials).await;
        }
        response
    }

    async fn transport(self, request: Request<Body>) -> Response<Body> {
        if is_grpc(request.headers()) {
            return self.adapter.answer(request).await;
        }
        let adapter = self.adapter;
        let grpc = tower::service_fn(move |request| adapter.clone().answer(request).map(Ok));
        self.gateway.call(request, grpc).await
    }
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
