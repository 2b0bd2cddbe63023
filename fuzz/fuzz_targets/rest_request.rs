//! Any path, query and body as a request over REST: no panic, and what is handed on as a gRPC call is a message of the method's own
//! kind. So it goes for the reports and inventories of agents, their signing requests, the TokenReview of an API server, and the clusters
//! of container v1.
#![no_main]

use std::convert::Infallible;
use std::sync::LazyLock;

use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use keystead_proto::{container, keystead_v1};
use keystead_server::rest::Gateway;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use tonic::body::Body;

static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| Gateway::new().expect("routes"));

/// Method, path, and whether a message of that kind it is.
const CALLS: [(&str, &str, fn(&[u8]) -> bool); 8] = [
    ("POST", "/keystead/v1/agent:report", decodes::<keystead_v1::ReportHostRequest>),
    ("POST", "/keystead/v1/agent:reportInventory", decodes::<keystead_v1::ReportInventoryRequest>),
    ("POST", "/keystead/v1/agent:join", decodes::<keystead_v1::JoinClusterRequest>),
    ("POST", "/keystead/v1/agent:reviewToken", decodes::<keystead_v1::ReviewTokenRequest>),
    ("POST", "/v1/projects/p/locations/l/clusters", decodes::<container::CreateClusterRequest>),
    ("PUT", "/v1/projects/p/locations/l/clusters/c", decodes::<container::UpdateClusterRequest>),
    (
        "POST",
        "/v1/projects/p/locations/l/clusters/c:setResourceLabels",
        decodes::<container::SetLabelsRequest>,
    ),
    ("POST", "/v1/projects/p/locations/l/operations/o:cancel", decodes::<container::CancelOperationRequest>),
];

fuzz_target!(|input: (u8, &str, &[u8])| {
    let (call, query, body) = input;
    let (method, path, is_message) = CALLS[usize::from(call) % CALLS.len()];
    let Ok(uri) = format!("{path}?{query}").parse::<hyper::Uri>() else { return };
    let request = Request::builder().method(method).uri(uri).body(Full::<Bytes>::from(body.to_vec()));
    let service = tower::service_fn(move |request: Request<Body>| async move {
        let frame = request.into_body().collect().await.expect("a frame").to_bytes();
        assert!(is_message(frame.get(5..).expect("a frame has a head")), "{path}");
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let answered = GATEWAY.call(request.expect("a request"), service);
    assert!(answered.now_or_never().is_some(), "nothing here is waited for");
});

fn decodes<M: Message + Default>(message: &[u8]) -> bool {
    M::decode(message).is_ok()
}
