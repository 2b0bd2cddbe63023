//! The methods of every API by their gRPC path, as the descriptors have them; how long a request may be, and how an answer says what was
//! asked and what came of it.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use keystead_model::ErrorClass;
use keystead_proto::descriptor_pool;
use prost_reflect::{MessageDescriptor, MethodDescriptor, Value};
use tonic::Code;

/// Longest request, in bytes, as a gRPC message or as JSON. A Decrypt holds 65,536 bytes of additional data and a little more of
/// ciphertext, which base64 makes 175,000; a policy of 1,000 bindings has about 150,000.
pub const MAX_REQUEST_LEN: usize = 256 * 1024;

static METHODS: LazyLock<HashMap<String, Known>> = LazyLock::new(|| {
    let unserved = descriptor_pool().get_extension_by_name("keystead.api.unserved");
    let methods = descriptor_pool().services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let known = methods.map(|method| {
        let marked = unserved.as_ref().map(|it| method.options().get_extension(it).into_owned());
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        (path, Known { served: marked != Some(Value::Bool(true)), method })
    });
    known.collect()
});

/// A method that the descriptors name.
pub(crate) struct Known {
    /// Otherwise its answer is a sentence.
    pub(crate) served: bool,
    pub(crate) method: MethodDescriptor,
}

/// The method of that path, if there is one.
pub(crate) fn known(path: &str) -> Option<&'static Known> {
    METHODS.get(path)
}

impl Known {
    /// Such as `Encrypt`: one of a closed list.
    pub(crate) fn name(&self) -> &str {
        self.method.name()
    }
}

/// Whether a message stands for something that is not served: only that it is there matters, so it has no fields.
pub(crate) fn is_unserved(kind: &MessageDescriptor) -> bool {
    kind.full_name() == "google.container.v1.Unserved"
}

/// Whether a request is gRPC, as its content type says.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"))
}

/// An extension of an answer, by which the adapters say what was asked and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The API's method, such as `Encrypt`: one of a closed list, never text of the caller's.
    pub method: &'static str,
    /// The gRPC code's name, such as `OK` or `PERMISSION_DENIED`, also for REST.
    pub code: &'static str,
}

/// As `google.rpc.Code` writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match (ErrorClass::of_grpc_code(code.into()), code) {
        (Some(class), _) => class.status(),
        (None, Code::Ok) => "OK",
        (None, Code::OutOfRange) => "OUT_OF_RANGE",
        (None, Code::Cancelled) => "CANCELLED",
        (None, _) => "UNKNOWN",
    }
}

/// For answers that no gRPC service gave.
pub(crate) fn code_of_http(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "OK",
        400 | 413 | 431 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 | 405 => "NOT_FOUND",
        500..=599 => "INTERNAL",
        _ => "UNKNOWN",
    }
}
