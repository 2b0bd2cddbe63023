//! Who may not, who is not known, and what else a key service says no with.

use keystead_model::ErrorClass;
use keystead_provider::Provider;
use tonic::Code;

use crate::place::{FIRST, Place, key};
use crate::server::{Server, refuse};
use crate::stand_in::StandIn;

#[tokio::test]
async fn p15_without_the_role_it_is_denied_and_with_it_it_works() {
    let kms = StandIn::new();
    let server = Server::start(None, kms.answers()).await;
    let place = Place::for_plain(server.address);
    let provider = place.provider();
    kms.grant(false);
    let error = provider.wrap(&key()).await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Denied);
    assert!(error.class().is_revocation());
    let text = error.to_string();
    assert!(text.contains("token first") && text.contains("cryptoKeyEncrypterDecrypter"), "{text}");
    kms.grant(true);
    provider.wrap(&key()).await.expect("wrapped");
}

#[tokio::test]
async fn an_unknown_token_is_no_revocation_of_the_key() {
    let kms = StandIn::new();
    kms.know(&[]);
    let server = Server::start(None, kms.answers()).await;
    let place = Place::for_plain(server.address);
    let error = place.provider().wrap(&key()).await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Unauthenticated);
    assert!(!error.class().is_revocation());
    assert_eq!(kms.last_authorization(), Some(format!("Bearer {FIRST}")));
}

/// Over the wire and not only in the table: tonic makes codes of its own.
#[tokio::test]
async fn no_text_of_the_backend_is_repeated() {
    for (code, class) in [
        (Code::NotFound, ErrorClass::NotFound),
        (Code::ResourceExhausted, ErrorClass::Throttled),
        (Code::Unavailable, ErrorClass::Unavailable),
        (Code::Internal, ErrorClass::Unavailable),
        (Code::DeadlineExceeded, ErrorClass::Timeout),
        (Code::Unimplemented, ErrorClass::Unimplemented),
        (Code::InvalidArgument, ErrorClass::Misconfigured),
    ] {
        let server = Server::start(None, move |_, _| Box::pin(async move { refuse(code, "canary") })).await;
        let error = Place::for_plain(server.address).provider().wrap(&key()).await.expect_err("refused");
        assert_eq!(error.class(), class, "{error}");
        assert!(!format!("{error:?} {error}").contains("canary"), "{error}");
    }
}
