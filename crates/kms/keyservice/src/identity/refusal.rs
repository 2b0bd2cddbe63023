//! Refusals of credentials, in the shape that Google's clients know. Which part of a credential is wrong is said only where
//! it helps its owner and nobody else.

use std::collections::BTreeMap;

use keystead_model::ErrorClass;

use crate::{Detail, KmsError};

/// Nothing was presented.
pub(crate) fn missing() -> KmsError {
    refusal(
        "CREDENTIALS_MISSING",
        "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid \
         authentication credential: send the header `Authorization: Bearer TOKEN`, or a client certificate.",
    )
}

/// Something was presented that is not a credential of this server. It says no more: who guesses must not learn.
pub(crate) fn invalid() -> KmsError {
    refusal(
        "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
         authentication credential: the credential is not one of this server, or is not complete.",
    )
}

/// The credential is right and its time is over.
pub(crate) fn expired(what: &str) -> KmsError {
    refusal(
        "ACCESS_TOKEN_EXPIRED",
        &format!("Request had invalid authentication credentials: {what} has expired."),
    )
}

/// The credential was right once and does not count any more.
pub(crate) fn revoked(what: &str) -> KmsError {
    refusal("ACCESS_TOKEN_REVOKED", &format!("Request had invalid authentication credentials: {what}."))
}

/// A signed credential whose claims do not fit.
pub(crate) fn unfit(why: &str) -> KmsError {
    refusal("ACCESS_TOKEN_INVALID", &format!("Request had invalid authentication credentials: {why}."))
}

/// What a refusal is counted as.
pub(crate) fn kind(error: &KmsError) -> &'static str {
    let reason = match error.details() {
        [Detail::ErrorInfo { reason, .. }] => reason.as_str(),
        _ => "",
    };
    match reason {
        "CREDENTIALS_MISSING" => "missing_credentials",
        "ACCESS_TOKEN_EXPIRED" => "expired_token",
        "ACCESS_TOKEN_REVOKED" => "revoked_token",
        "ACCESS_TOKEN_INVALID" => "unfit_token",
        _ => "unknown_token",
    }
}

fn refusal(reason: &str, message: &str) -> KmsError {
    KmsError::new(ErrorClass::Unauthenticated, message).with(Detail::ErrorInfo {
        reason: reason.to_owned(),
        domain: "googleapis.com".to_owned(),
        metadata: BTreeMap::new(),
    })
}
