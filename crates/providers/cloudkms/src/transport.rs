//! What every call passes on its way: headers that say who we are, and on the way back the question whether it was gRPC
//! that answered.

use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use keystead_model::ErrorClass;
use keystead_provider::ProviderError;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service;

use crate::Endpoint;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// One connection and the headers of one caller.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) channel: Channel,
    pub(crate) headers: HeaderMap,
    pub(crate) endpoint: Endpoint,
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().extend(self.headers.clone());
        let answer = self.channel.call(request);
        let endpoint = self.endpoint.clone();
        Box::pin(async move {
            let response = answer.await?;
            if is_grpc(&response) {
                return Ok(response);
            }
            // A proxy's 403 is no word of the KMS: it must not look like a revocation.
            let text =
                format!("{endpoint} answers, but not in gRPC: HTTP status {}", response.status().as_u16());
            Err(ProviderError::new(ErrorClass::Unavailable, text).into())
        })
    }
}

fn is_grpc(response: &Response<Body>) -> bool {
    let header = |name: HeaderName| response.headers().get(name).map(HeaderValue::as_bytes);
    let has_type = header(CONTENT_TYPE).is_some_and(|text| {
        text.strip_prefix(b"application/grpc")
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    });
    // A call that succeeds has a message first and its status at the end.
    let ends_before_it_begins = header(STATUS) == Some(b"0");
    response.status() == StatusCode::OK && has_type && !ends_before_it_begins
}
