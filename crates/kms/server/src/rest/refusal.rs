//! An error as every Google API has it: `{"error": {"code", "message", "status", "details"}}`.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use keystead_model::ErrorClass;
use keystead_proto::descriptor_pool;
use prost_reflect::{DynamicMessage, SerializeOptions, Value};
use serde::Serialize;
use tonic::body::Body;
use tonic::{Code, Status};

use super::describe;
use crate::methods::code_name;

/// What is answered in place of a result.
pub(super) struct Refusal {
    http: StatusCode,
    code: Code,
    message: String,
    details: Vec<serde_json::Value>,
    /// The methods that would have been right.
    allow: Option<HeaderValue>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: u16,
    message: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [serde_json::Value],
}

impl Refusal {
    /// The request is malformed.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidArgument, message)
    }

    pub(super) fn new(http: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { http, code, message: message.into(), details: Vec::new(), allow: None }
    }

    pub(super) fn wrong_method(allowed: &[&http::Method]) -> Self {
        let allowed = allowed.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
        let message = format!("This path takes {allowed}.");
        let mut refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, message);
        refusal.allow = HeaderValue::try_from(allowed).ok();
        refusal
    }

    /// What the gRPC service said.
    pub(super) fn of_status(status: &Status) -> Self {
        let mut refusal = Self::new(http_status(status.code()), status.code(), status.message());
        refusal.details = details(status.details());
        refusal
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let error = Error {
            code: self.http.as_u16(),
            message: &self.message,
            status: code_name(self.code),
            details: &self.details,
        };
        // A structure of texts and numbers can always be written.
        let text = serde_json::to_vec(&Envelope { error }).unwrap_or_default();
        let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
        *response.status_mut() = self.http;
        describe(response.headers_mut());
        if self.http == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer realm=\"keystead\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        if let Some(allow) = self.allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }
}

/// The details of a `google.rpc.Status`; those of unknown types are left out.
fn details(encoded: &[u8]) -> Vec<serde_json::Value> {
    let Some(status) = descriptor_pool().get_message_by_name("google.rpc.Status") else { return Vec::new() };
    let Ok(status) = DynamicMessage::decode(status, encoded) else { return Vec::new() };
    let details = status.get_field_by_name("details");
    let details = details.as_ref().and_then(|details| details.as_list()).unwrap_or_default();
    let json = |detail: &DynamicMessage| {
        detail.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).ok()
    };
    details.iter().filter_map(Value::as_message).filter_map(json).collect()
}

/// As the table of error classes says, and for codes that no class has as `google.rpc.Code` documents them.
fn http_status(code: Code) -> StatusCode {
    let status = match (ErrorClass::of_grpc_code(code.into()), code) {
        (Some(class), _) => class.http_status(),
        (None, Code::Ok) => 200,
        (None, Code::OutOfRange) => 400,
        (None, Code::Cancelled) => 499,
        (None, _) => 500,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
