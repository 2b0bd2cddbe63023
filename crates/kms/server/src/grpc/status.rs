//! Errors of the key service as gRPC has them. REST makes its JSON of the same.

use keystead_keyservice::{Detail, KmsError};
use keystead_proto::rpc;
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

/// Longest text, in bytes: headers of HTTP/2 have about 16 KiB in all, and each byte may become three.
const MAX_MESSAGE_LEN: usize = 2048;

pub(super) fn status(error: &KmsError) -> Status {
    let code = Code::from(error.class().grpc_code());
    let end = error.message().floor_char_boundary(MAX_MESSAGE_LEN);
    let message = error.message().get(..end).unwrap_or_default().to_owned();
    if error.details().is_empty() {
        return Status::new(code, message);
    }
    let details = error.details().iter().map(any).collect();
    let details = rpc::Status { code: error.class().grpc_code(), message: message.clone(), details };
    Status::with_details(code, message, details.encode_to_vec().into())
}

fn any(detail: &Detail) -> Any {
    match detail {
        Detail::ErrorInfo { reason, domain, metadata } => packed(
            "google.rpc.ErrorInfo",
            &rpc::ErrorInfo {
                reason: reason.clone(),
                domain: domain.clone(),
                metadata: metadata.clone().into_iter().collect(),
            },
        ),
        Detail::PreconditionFailure { kind, subject, description } => {
            let violation = rpc::precondition_failure::Violation {
                r#type: kind.clone(),
                subject: subject.clone(),
                description: description.clone(),
            };
            packed(
                "google.rpc.PreconditionFailure",
                &rpc::PreconditionFailure { violations: vec![violation] },
            )
        }
        Detail::BadRequest { field, description } => {
            let violation =
                rpc::bad_request::FieldViolation { field: field.clone(), description: description.clone() };
            packed("google.rpc.BadRequest", &rpc::BadRequest { field_violations: vec![violation] })
        }
    }
}

/// A message with its type, for those who do not know it beforehand.
pub(super) fn packed(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}
