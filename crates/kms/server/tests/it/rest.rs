//! REST to gRPC and back, in front of a service that writes down what it is asked.

mod answers;
mod bad_input;
mod requests;
mod routes;

pub(crate) use routes::example;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use keystead_proto::descriptor_pool;
use keystead_server::rest::Gateway;
use prost::Message;
use prost_reflect::DynamicMessage;
use serde_json::Value;
use tonic::body::Body;

const KEY: &str = "projects/key-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1";

/// What the gRPC service was asked.
struct Seen {
    path: String,
    headers: HeaderMap,
    message: DynamicMessage,
}

impl Seen {
    /// The message as canonical JSON, for comparison by eye.
    fn json(&self) -> Value {
        serde_json::to_value(&self.message).expect("message")
    }
}

/// Writes down each call and gives one answer.
#[derive(Clone)]
struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<dyn Fn() -> Response<Body> + Send + Sync>,
}

impl Recorder {
    fn answering(answer: impl Fn() -> Response<Body> + Send + Sync + 'static) -> Self {
        Self { seen: Arc::default(), answer: Arc::new(answer) }
    }
}

impl tower::Service<Request<Body>> for Recorder {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let recorder = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let frame = body.collect().await.expect("frame").to_bytes();
            let (service, method) =
                head.uri.path().trim_start_matches('/').split_once('/').expect("gRPC path");
            let service = descriptor_pool().get_service_by_name(service).expect("service");
            let method = service.methods().find(|known| known.name() == method).expect("method");
            let len = u32::from_be_bytes(frame[1..5].try_into().expect("length")) as usize;
            assert_eq!((frame[0], len), (0, frame.len() - 5), "one frame, not compressed");
            let message = DynamicMessage::decode(method.input(), &frame[5..]).expect("message");
            let seen = Seen { path: head.uri.path().to_owned(), headers: head.headers, message };
            recorder.seen.lock().expect("lock").push(seen);
            Ok((recorder.answer)())
        })
    }
}

/// A gRPC answer as tonic makes it: a frame, then trailers.
fn grpc_ok(message: &impl Message) -> Response<Body> {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.encoded_len()).expect("short").to_be_bytes());
    message.encode(&mut frame).expect("encode");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(frame)).with_trailers(async move { Some(Ok(trailers)) });
    Response::new(Body::new(body))
}

fn request(method: &str, uri: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(uri);
    request.body(Full::new(body.into())).expect("request")
}

/// Sends one request; the answer's status and JSON, and what the service saw, if it was asked.
async fn send(request: Request<Full<Bytes>>, recorder: &Recorder) -> (u16, Value, Option<Seen>) {
    let gateway = Gateway::new().expect("routes");
    let response = gateway.call(request, recorder.clone()).await;
    assert_eq!(response.headers()["content-type"], "application/json; charset=UTF-8");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("body").to_bytes();
    let json = serde_json::from_slice(&body).expect("JSON");
    let seen = recorder.seen.lock().expect("lock").pop();
    (status, json, seen)
}

/// What the gRPC service sees of a request that is well formed.
async fn seen(method: &str, uri: &str, body: impl Into<Bytes>) -> Seen {
    let recorder = Recorder::answering(|| grpc_ok(&()));
    let (status, json, seen) = send(request(method, uri, body), &recorder).await;
    assert_eq!(status, 200, "{method} {uri}: {json}");
    seen.expect("the service is asked")
}

/// The status and the message of a request that the gateway refuses by itself.
async fn refused(method: &str, uri: &str, body: impl Into<Bytes>) -> (u16, String) {
    let recorder = Recorder::answering(|| grpc_ok(&()));
    let (status, json, seen) = send(request(method, uri, body), &recorder).await;
    assert!(seen.is_none(), "{method} {uri} reached the service");
    assert_eq!(json["error"]["code"], status);
    (status, json["error"]["message"].as_str().expect("message").to_owned())
}
