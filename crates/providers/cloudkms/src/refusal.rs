//! From gRPC status to [`ProviderError`]: one class and a text of our own. What the backend wrote is not repeated, because
//! nobody knows what it holds.

use std::error::Error;

use keystead_model::ErrorClass;
use keystead_provider::ProviderError;
use tonic::{Code, Status};

use crate::Endpoint;

/// What was asked, of whom and by whom: parts of every text.
pub(crate) struct Asked<'a> {
    pub(crate) method: KmsMethod,
    pub(crate) key: &'a str,
    pub(crate) endpoint: &'a Endpoint,
    /// `token 4f3a2b`, `service account a@b`, ...
    pub(crate) identity: &'a str,
    /// Whether TLS ended because of who we are.
    pub(crate) client_refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KmsMethod {
    Encrypt,
    Decrypt,
}

impl KmsMethod {
    fn verb(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }
}

/// States of key versions that a text may name.
const STATES: [&str; 5] =
    ["DISABLED", "DESTROY_SCHEDULED", "DESTROYED", "PENDING_GENERATION", "PENDING_IMPORT"];

pub(crate) fn explain(status: &Status, asked: &Asked<'_>) -> ProviderError {
    if let Some(own) = own_error(status, asked) {
        return own;
    }
    let Asked { method, key, endpoint, identity, .. } = asked;
    let verb = method.verb();
    let (class, text) = match status.code() {
        Code::PermissionDenied if mentions(status, "SERVICE_DISABLED") => (
            ErrorClass::Denied,
            format!("the Cloud KMS API is disabled in the project of {key}: enable cloudkms.googleapis.com"),
        ),
        Code::PermissionDenied => (
            ErrorClass::Denied,
            format!(
                "{identity} may not {verb} with {key}: grant it roles/cloudkms.cryptoKeyEncrypterDecrypter on the key"
            ),
        ),
        // Somebody has taken it away, and our server says so.
        Code::Unauthenticated if mentions(status, "ACCESS_TOKEN_REVOKED") => {
            (ErrorClass::Denied, format!("{identity} was revoked: put another one into the credentials file"))
        }
        // A token that has ended is no revocation of the key.
        Code::Unauthenticated => (
            ErrorClass::Unauthenticated,
            format!("{endpoint} does not accept {identity}: it is wrong, expired or revoked"),
        ),
        Code::FailedPrecondition => (ErrorClass::FailedPrecondition, not_enabled(status, verb, key)),
        Code::NotFound => (ErrorClass::NotFound, format!("{endpoint} has no key {key}")),
        Code::InvalidArgument => match method {
            KmsMethod::Decrypt => {
                (ErrorClass::Corrupt, format!("the ciphertext was altered, or was not made with {key}"))
            }
            KmsMethod::Encrypt => (
                ErrorClass::Misconfigured,
                format!("{endpoint} does not encrypt with {key}: check that its purpose is ENCRYPT_DECRYPT"),
            ),
        },
        Code::ResourceExhausted => (
            ErrorClass::Throttled,
            format!("{endpoint} takes no more calls for the moment: the quota is used up"),
        ),
        Code::DeadlineExceeded => (ErrorClass::Timeout, format!("{endpoint} did not {verb} in time")),
        Code::Aborted => (ErrorClass::Aborted, format!("{endpoint} broke off: something else was faster")),
        Code::Unimplemented => (
            ErrorClass::Unimplemented,
            format!("{endpoint} does not offer the Cloud KMS API: check the address"),
        ),
        // tonic's code for an answer that is too long.
        Code::OutOfRange | Code::DataLoss => {
            (ErrorClass::Corrupt, format!("the answer of {endpoint} is not one to {verb}"))
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::AlreadyExists
        | Code::Internal
        | Code::Unavailable => {
            (ErrorClass::Unavailable, format!("{endpoint} cannot {verb} just now ({:?})", status.code()))
        }
    };
    ProviderError::new(class, text)
}

/// What went wrong on our side of the wire, before there was an answer.
fn own_error(status: &Status, asked: &Asked<'_>) -> Option<ProviderError> {
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<ProviderError>() {
            return Some(own.clone());
        }
        cause = error.source();
    }
    // What came over the wire has no source.
    (status.source().is_some() && asked.client_refused).then(|| {
        let text = format!("{} does not accept our client certificate, or wants one", asked.endpoint);
        ProviderError::new(ErrorClass::Unauthenticated, text)
    })
}

fn not_enabled(status: &Status, verb: &str, key: &str) -> String {
    let state = STATES.into_iter().find(|state| {
        status.message().trim_end_matches('.').strip_suffix(state).is_some_and(|rest| rest.ends_with(' '))
    });
    let help = match state {
        Some("DESTROYED") => "what it encrypted is lost",
        Some("DESTROY_SCHEDULED") => "restore it, then enable it",
        _ => "enable it",
    };
    let state = state.unwrap_or("not enabled");
    match verb {
        "encrypt" => {
            format!("the primary version of {key} is {state}: {help}, or make another version the primary")
        }
        _ => format!("the version of {key} that made this ciphertext is {state}: {help}"),
    }
}

/// Whether the machine-readable part names a reason. It is protobuf, in which text stands as it is.
fn mentions(status: &Status, reason: &str) -> bool {
    status.details().windows(reason.len()).any(|window| window == reason.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_and_text(method: KmsMethod, status: &Status) -> (ErrorClass, String) {
        let endpoint: Endpoint = "https://kms.example.com".parse().expect("an address");
        let asked = Asked {
            method,
            key: "KEY",
            endpoint: &endpoint,
            identity: "token 4f3a2b",
            client_refused: false,
        };
        let error = explain(status, &asked);
        (error.class(), error.to_string())
    }

    /// Every code there is; expectations by hand.
    #[test]
    fn codes_have_classes() {
        use ErrorClass as Class;
        for (code, encrypt, decrypt) in [
            (Code::Ok, Class::Unavailable, Class::Unavailable),
            (Code::Cancelled, Class::Unavailable, Class::Unavailable),
            (Code::Unknown, Class::Unavailable, Class::Unavailable),
            (Code::InvalidArgument, Class::Misconfigured, Class::Corrupt),
            (Code::DeadlineExceeded, Class::Timeout, Class::Timeout),
            (Code::NotFound, Class::NotFound, Class::NotFound),
            (Code::AlreadyExists, Class::Unavailable, Class::Unavailable),
            (Code::PermissionDenied, Class::Denied, Class::Denied),
            (Code::ResourceExhausted, Class::Throttled, Class::Throttled),
            (Code::FailedPrecondition, Class::FailedPrecondition, Class::FailedPrecondition),
            (Code::Aborted, Class::Aborted, Class::Aborted),
            (Code::OutOfRange, Class::Corrupt, Class::Corrupt),
            (Code::Unimplemented, Class::Unimplemented, Class::Unimplemented),
            (Code::Internal, Class::Unavailable, Class::Unavailable),
            (Code::Unavailable, Class::Unavailable, Class::Unavailable),
            (Code::DataLoss, Class::Corrupt, Class::Corrupt),
            (Code::Unauthenticated, Class::Unauthenticated, Class::Unauthenticated),
        ] {
            let status = Status::new(code, "canary");
            for (method, class) in [(KmsMethod::Encrypt, encrypt), (KmsMethod::Decrypt, decrypt)] {
                let (given, text) = class_and_text(method, &status);
                assert_eq!(given, class, "{method:?} {code:?}");
                assert!(!text.contains("canary"), "{text}");
            }
        }
    }

    #[test]
    fn a_revoked_token_is_denied_and_an_expired_one_is_not() {
        let status = |reason: &str| {
            let details = [b"\n\x0e".as_slice(), reason.as_bytes(), b"\x12\x12"].concat();
            Status::with_details(Code::Unauthenticated, "canary", details.into())
        };
        let (class, text) = class_and_text(KmsMethod::Encrypt, &status("ACCESS_TOKEN_REVOKED"));
        assert!(class.is_revocation() && text.contains("token 4f3a2b was revoked"), "{text}");
        let (class, _) = class_and_text(KmsMethod::Encrypt, &status("ACCESS_TOKEN_EXPIRED"));
        assert_eq!(class, ErrorClass::Unauthenticated);
    }

    #[test]
    fn p20_the_state_of_a_version_is_named() {
        for (message, words) in [
            ("x/cryptoKeyVersions/1 is not enabled, current state is: DISABLED.", "is DISABLED: enable it"),
            ("x is not enabled, current state is: DESTROY_SCHEDULED.", "is DESTROY_SCHEDULED: restore it"),
            ("x is not enabled, current state is: DESTROYED.", "is DESTROYED: what it encrypted is lost"),
            ("something else", "is not enabled: enable it"),
        ] {
            let (class, text) = class_and_text(KmsMethod::Decrypt, &Status::failed_precondition(message));
            assert_eq!(class, ErrorClass::FailedPrecondition);
            assert!(text.contains(words), "{text}");
        }
    }
}
