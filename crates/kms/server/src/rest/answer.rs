//! The answer of the gRPC service becomes JSON.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use tonic::body::Body;
use tonic::{Code, Status};
use zeroize::Zeroizing;

use super::describe;
use super::refusal::Refusal;
use super::transcode::{FRAME_HEADER_LEN, wipe, wipe_bytes};

/// Reads the one message of a unary answer and writes it as JSON.
pub(super) async fn answer(
    output: &MessageDescriptor,
    response: Response<Body>,
) -> Result<Response<Body>, Refusal> {
    let (head, body) = response.into_parts();
    fail_on(&head.headers)?;
    let collected = body.collect().await.map_err(|status| Refusal::of_status(&status))?;
    if let Some(trailers) = collected.trailers() {
        fail_on(trailers)?;
    }
    let frame = collected.to_bytes();
    let json = json(output, &frame);
    wipe_bytes(frame);
    let mut response = Response::new(Body::new(Full::new(json?)));
    *response.status_mut() = StatusCode::OK;
    let custom = head.headers.iter().filter(|(name, _)| is_custom(name));
    let custom: Vec<_> = custom.map(|(name, value)| (name.clone(), value.clone())).collect();
    response.headers_mut().extend(custom);
    describe(response.headers_mut());
    Ok(response)
}

fn fail_on(headers: &HeaderMap) -> Result<(), Refusal> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(Refusal::of_status(&status)),
        _ => Ok(()),
    }
}

fn json(output: &MessageDescriptor, frame: &[u8]) -> Result<Bytes, Refusal> {
    let broken = || {
        let text = "The server could not write its answer as JSON.";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, text)
    };
    let encoded = frame.get(FRAME_HEADER_LEN..).unwrap_or_default();
    let mut message = DynamicMessage::decode(output.clone(), encoded).map_err(|_| broken())?;
    // Base64 takes 4/3 of it and names take some: it does not grow and leave copies behind.
    let mut json = Zeroizing::new(Vec::with_capacity(encoded.len() * 2 + 1024));
    let written = message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut *json), &SerializeOptions::new());
    wipe(&mut message);
    written.map_err(|_| broken())?;
    Ok(Bytes::from_owner(json))
}

/// Metadata of ours, such as the count of activations.
fn is_custom(name: &HeaderName) -> bool {
    name.as_str().starts_with("keystead-")
}
