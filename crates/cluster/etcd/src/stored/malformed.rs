//! Why a stored value cannot be read.

use keystead_model::ErrorClass;

/// Why a value that starts as an encrypted one cannot be read, by us or by kube-apiserver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// `k8s:enc:` and then nothing that a kube-apiserver writes.
    #[error("the value has the prefix of encrypted data, but of no provider that Kubernetes has")]
    UnknownPrefix,
    /// No `:` where the name should end.
    #[error("the provider name does not end")]
    NameWithoutEnd,
    /// An empty name, or one that is not UTF-8.
    #[error("the provider name is empty or not UTF-8")]
    Name,
    /// Too short for its nonce and tag.
    #[error("the payload has {length} bytes and needs at least {minimum}")]
    ShortPayload {
        /// In bytes.
        length: usize,
        /// In bytes.
        minimum: usize,
    },
    /// AES-CBC without whole blocks.
    #[error("the payload is not a whole number of cipher blocks")]
    PartialBlock,
    /// KMS v1: the length before the wrapped key is missing or says more than there is.
    #[error("the wrapped key is cut short")]
    ShortWrappedKey,
    /// KMS v1: longer than the two length bytes can say.
    #[error("the wrapped key has {0} bytes, more than 65535")]
    WrappedKeyTooLong(usize),
    /// KMS v2: not the message it should be.
    #[error("the encrypted object is not a valid protocol buffer")]
    Protobuf(#[source] prost::DecodeError),
    /// KMS v2: written by a Kubernetes that does not exist yet.
    #[error("the wrapped seed is of the unknown type {0}")]
    UnknownSeedKind(i32),
    /// KMS v2.
    #[error("the wrapped seed has {0} bytes, not 1 to 1024")]
    WrappedSeedSize(usize),
    /// KMS v2.
    #[error("the key id has {0} bytes, not 1 to 1024")]
    KeyIdSize(usize),
    /// KMS v2.
    #[error("the annotations have {0} bytes, more than 32768")]
    AnnotationsSize(usize),
    /// KMS v2.
    #[error("the name of an annotation is not a domain name in lower case with at least two labels")]
    AnnotationName,
}

impl Malformed {
    /// What kind of failure it is: always that of the data.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }
}

pub(super) fn at_least(payload: &[u8], minimum: usize) -> Result<(), Malformed> {
    if payload.len() < minimum {
        return Err(Malformed::ShortPayload { length: payload.len(), minimum });
    }
    Ok(())
}
