//! REST for every method that has a path in the descriptors. It has no rules of its own: it makes of each request the
//! gRPC call that would say the same, has the gRPC services answer it, and writes the answer as JSON.
//!
//! What real clients send and expect is in `tests/it/rest.rs`, by number.

mod answer;
mod query;
mod refusal;
mod routes;
mod strict;
mod template;
pub(crate) mod token;
mod transcode;

pub use routes::{RouteError, RouteName};

use std::convert::Infallible;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as HttpBody;
use tonic::Code;
use tonic::body::Body;
use tower::{Service, ServiceExt};
use zeroize::Zeroizing;

use crate::methods::{self, MAX_REQUEST_LEN, Served, code_name};
use refusal::Refusal;
use routes::{Found, Route, Routes};

/// The way from REST to the gRPC services.
pub struct Gateway {
    routes: Routes,
}

impl Gateway {
    /// Reads the routes from the descriptors.
    pub fn new() -> Result<Self, RouteError> {
        Ok(Self { routes: Routes::from_descriptors()? })
    }

    /// Every path that is known, in no order.
    pub fn routes(&self) -> impl Iterator<Item = &RouteName> {
        self.routes.names()
    }

    /// Answers one request, with `grpc` as the service that does the work.
    pub async fn call<B, S>(&self, request: Request<B>, grpc: S) -> Response<Body>
    where
        B: HttpBody,
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let (head, body) = request.into_parts();
        let (route, values) = match self.routes.find(&head.method, head.uri.path()) {
            Found::Route(route, values) => (route, values),
            Found::OtherMethods(methods) => return Refusal::wrong_method(&methods).into_response(),
            Found::Nothing => {
                let text = "There is no such path. Key management is under /v1/projects/.";
                return Refusal::new(http::StatusCode::NOT_FOUND, Code::NotFound, text).into_response();
            }
        };
        let path = route.grpc_path();
        // The path may borrow from the head's URI; what is called needs the head.
        let values: Vec<Vec<String>> =
            values.iter().map(|value| value.iter().map(|part| (*part).to_owned()).collect()).collect();
        let result = call(route, &values, head, body, grpc).await;
        let code = code_name(result.as_ref().err().map_or(Code::Ok, Refusal::code));
        let mut response = result.unwrap_or_else(Refusal::into_response);
        if let Some(known) = methods::known(&path) {
            response.extensions_mut().insert(Served { method: known.name(), code });
        }
        response
    }
}

async fn call<B, S>(
    route: &Route,
    values: &[Vec<String>],
    head: http::request::Parts,
    body: B,
    grpc: S,
) -> Result<Response<Body>, Refusal>
where
    B: HttpBody,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let frame = if route.name.served {
        let body = match route.body {
            routes::Body::Nowhere => Zeroizing::default(),
            _ => read(&head.headers, body).await?,
        };
        transcode::transcode(route, values, head.uri.query(), &body)?
    } else {
        // An empty message: whatever is asked, the answer is the same.
        Bytes::from_static(&[0; transcode::FRAME_HEADER_LEN])
    };
    let Ok(response) = grpc.oneshot(grpc_request(route, head, frame)).await;
    answer::answer(&route.output, response).await
}

/// Reads a body that has a size that it may have, into memory that is wiped.
async fn read<B: HttpBody>(headers: &HeaderMap, body: B) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let too_large = || Refusal::invalid(format!("The body is larger than {MAX_REQUEST_LEN} bytes."));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    // All of it at once, because a buffer that grows leaves copies behind.
    let capacity: usize = announced.unwrap_or(MAX_REQUEST_LEN);
    if capacity > MAX_REQUEST_LEN {
        return Err(too_large());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::invalid("The body ended before its time."))?;
        let Ok(mut data) = frame.into_data() else { continue };
        while data.has_remaining() {
            let chunk = data.chunk();
            let len = chunk.len();
            if bytes.len() + len > MAX_REQUEST_LEN {
                return Err(too_large());
            }
            bytes.extend_from_slice(chunk);
            data.advance(len);
        }
    }
    Ok(bytes)
}

/// Who calls is in headers and extensions, which stay as they are.
fn grpc_request(route: &Route, mut head: http::request::Parts, frame: Bytes) -> Request<Body> {
    for hop in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONTENT_ENCODING, header::EXPECT] {
        head.headers.remove(hop);
    }
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    head.method = http::Method::POST;
    head.version = Version::HTTP_2;
    // Names of services and methods are letters, digits and dots.
    head.uri = route.grpc_path().parse().unwrap_or_default();
    Request::from_parts(head, Body::new(Full::new(frame)))
}

/// What every JSON answer says about itself. Answers may be plaintexts, and are never to be stored.
fn describe(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
