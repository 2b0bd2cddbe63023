//! The first look at every request: `/livez`, `/readyz` and `/metrics` are answered here, everything else goes to the
//! APIs, is timed, and does not take the process with it when it panics.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use keystead_runtime::{Readiness, Report};
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use crate::listener::{Peer, Serve};
use crate::methods::{Served, code_of_http, is_grpc};
use crate::metrics::Metrics;

/// A proxy on this host forwards for somebody else.
const FORWARDED: [HeaderName; 2] = [http::header::FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// In front of the APIs.
#[derive(Clone)]
pub struct Front<S> {
    api: S,
    report: Arc<dyn Report>,
    metrics: Arc<Metrics>,
}

impl<S: Serve> Front<S> {
    /// Puts itself before `api`.
    pub fn new(api: S, report: Arc<dyn Report>, metrics: Arc<Metrics>) -> Self {
        Self { api, report, metrics }
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        match request.uri().path() {
            "/livez" | "/readyz" | "/metrics" if request.method() == Method::GET => self.probe(&request),
            _ => self.call(request).await,
        }
    }

    /// Strangers learn whether we are ready, and nothing else; what a probe or a scraper on this host asks is told.
    fn probe(&self, request: &Request<Body>) -> Response<Body> {
        let forwarded = FORWARDED.iter().any(|name| request.headers().contains_key(name));
        let local = !forwarded && request.extensions().get::<Arc<Peer>>().is_some_and(|peer| peer.is_local());
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => {
                let Readiness { ready, text: detail } = self.report.readiness();
                let (status, word) = if ready {
                    (StatusCode::OK, "ok\n")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
                };
                text(status, if local { detail } else { word.to_owned() })
            }
            _ if local => {
                const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                let mut response = text(StatusCode::OK, self.report.metrics());
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
                response
            }
            _ => text(
                StatusCode::FORBIDDEN,
                "/metrics is for clients on this host: scrape from there, or through the admin port\n"
                    .to_owned(),
            ),
        }
    }

    async fn call(self, request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let grpc = is_grpc(request.headers());
        let called = AssertUnwindSafe(self.api.oneshot(request)).catch_unwind().await;
        let response = match called {
            Ok(Ok(response)) => response,
            Err(_) => {
                self.metrics.panicked();
                tracing::error!("a request ended in a bug; the process goes on");
                broken(grpc)
            }
        };
        let served = response.extensions().get::<Served>().copied();
        let served = served.unwrap_or(Served { method: "other", code: code_of_http(response.status()) });
        self.metrics.answered(served, started.elapsed());
        response
    }
}

impl<S: Serve> Service<Request<Body>> for Front<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The APIs are asked by each call for itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request).map(Ok))
    }
}

/// Nothing of the bug itself: it may hold what the caller must not see.
fn broken(grpc: bool) -> Response<Body> {
    const TEXT: &str = "internal error: see the server's log";
    if grpc {
        return tonic::Status::internal(TEXT).into_http();
    }
    let json = format!(r#"{{"error":{{"code":500,"message":"{TEXT}","status":"INTERNAL"}}}}"#);
    let mut response = text(StatusCode::INTERNAL_SERVER_ERROR, json);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
