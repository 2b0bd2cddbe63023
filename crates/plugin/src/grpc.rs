//! The thin layer between generated code and [`crate::kms`]. Generated types stop here.

mod budget;
mod serve;
mod v1;
mod v2;

pub(crate) use serve::serve;

use std::sync::Arc;
use std::time::Instant;

use keystead_model::ErrorClass;
use tonic::{Code, Status};

use crate::kms::Kms;
use crate::metrics::Call;
use crate::settings::StatusVersion;

/// Largest message that is read, in bytes: a KMS v2 Decrypt may carry 1,024 bytes of ciphertext, 1,024 of key id and
/// 32,768 of annotations, a KMS v1 Decrypt 65,535 of ciphertext. Larger ones are refused at their length prefix.
const MAX_MESSAGE_LEN: usize = 128 * 1024;

/// Serves both API versions.
#[derive(Clone)]
pub(crate) struct Handlers {
    /// Answers.
    pub(crate) kms: Arc<Kms>,
    /// What `Status.version` says as long as this process lives.
    pub(crate) status_version: StatusVersion,
}

impl Handlers {
    /// Counts a call that began at `start`, logs it with kube-apiserver's uid, and makes the answer of an error.
    fn answer<T, E: std::fmt::Display>(
        &self,
        call: Call,
        uid: &str,
        start: Instant,
        result: Result<T, (ErrorClass, E)>,
    ) -> Result<T, Status> {
        let failure = result.as_ref().err().map(|(class, _)| *class);
        self.kms.metrics.called(call, start.elapsed(), failure);
        match result {
            Ok(answer) => {
                tracing::debug!(?call, uid = printable(uid), "answered");
                Ok(answer)
            }
            Err((class, error)) => {
                tracing::warn!(?call, uid = printable(uid), class = class.name(), %error, "refused");
                Err(Status::new(Code::from(class.grpc_code()), error.to_string()))
            }
        }
    }
}

/// A uid is a UUID of 36 characters; anything longer is cut, because it comes from outside.
fn printable(uid: &str) -> &str {
    let end = uid.char_indices().nth(64).map_or(uid.len(), |(end, _)| end);
    uid.get(..end).unwrap_or_default()
}
