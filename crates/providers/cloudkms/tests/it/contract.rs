//! What every provider must do, and what follows a rotation.

use std::net::SocketAddr;

use keystead_model::ErrorClass;
use keystead_provider::{Provider, contract};

use crate::place::{Place, guarded, key};
use crate::server::Server;
use crate::stand_in::{KEY, StandIn};

#[tokio::test]
async fn p19_fulfils_the_contract() {
    let server = Server::start(None, StandIn::new().answers()).await;
    contract::check(&Place::for_plain(server.address).provider()).await;
}

#[tokio::test]
async fn is_described_by_the_keys_name_and_no_address() {
    let server = Server::start(None, StandIn::new().answers()).await;
    let place = Place::for_plain(server.address);
    let provider = place.provider();
    assert_eq!((provider.describe().kind, provider.describe().key_name.as_str()), ("cloudkms", KEY));
    let reference = provider.describe().reference(u32::MAX.into(), Some(u32::MAX), None).expect("fits");
    assert!(reference.as_str().starts_with("cloudkms-v4294967295-a4294967295-"), "{reference}");
}

#[tokio::test]
async fn p15_c10_the_version_comes_from_each_answer() {
    let kms = StandIn::new();
    let server = Server::start(None, kms.answers()).await;
    let place = Place::for_plain(server.address);
    let provider = place.provider();
    let secret = key();
    let first = provider.wrap(&secret).await.expect("wrapped");
    assert_eq!((first.version.as_str(), first.activation), ("1", None));
    kms.count_activations(7);
    kms.rotate();
    let second = provider.wrap(&secret).await.expect("wrapped");
    assert_eq!((second.version.as_str(), second.activation), ("2", Some(8)));
    for wrapped in [&first, &second] {
        assert!(provider.unwrap(&wrapped.version, &wrapped.bytes).await.expect("unwrapped").is_same(&secret));
    }
    // Our server does not count as a use what only asks again.
    assert_eq!(kms.rechecks(), 0);
    assert!(provider.recheck(&first.version, &first.bytes).await.expect("unwrapped").is_same(&secret));
    assert_eq!(kms.rechecks(), 1);
}

#[tokio::test]
async fn p20_a_disabled_version_is_a_precondition_and_enabling_heals() {
    let kms = StandIn::new();
    let server = Server::start(None, kms.answers()).await;
    let place = Place::for_plain(server.address);
    let provider = place.provider();
    let secret = key();
    let wrapped = provider.wrap(&secret).await.expect("wrapped");
    kms.enable(1, false);
    for error in [
        provider.wrap(&secret).await.expect_err("refused"),
        provider.unwrap(&wrapped.version, &wrapped.bytes).await.err().expect("refused"),
    ] {
        assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
        assert!(error.class().is_revocation() && error.to_string().contains("DISABLED"), "{error}");
    }
    kms.enable(1, true);
    assert!(provider.unwrap(&wrapped.version, &wrapped.bytes).await.expect("healed").is_same(&secret));
}

#[tokio::test]
async fn a_ciphertext_of_another_version_is_not_opened() {
    let kms = StandIn::new();
    let server = Server::start(None, kms.answers()).await;
    let place = Place::for_plain(server.address);
    let provider = place.provider();
    let first = provider.wrap(&key()).await.expect("wrapped");
    kms.rotate();
    let second = provider.wrap(&key()).await.expect("wrapped");
    let asked = server.requests();
    for (version, bytes) in [(&second.version, &first.bytes), (&first.version, &second.bytes)] {
        let error = provider.unwrap(version, bytes).await.err().expect("refused");
        assert_eq!(error.class(), ErrorClass::Corrupt);
    }
    assert_eq!(server.requests(), asked);
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let kms = StandIn::new();
    // An address of its own: on the usual one somebody else may be given the port while nobody has it.
    let server = Server::start_at(SocketAddr::from(([127, 71, 83, 2], 0)), None, kms.answers()).await;
    let address = server.address;
    let place = Place::for_plain(address);
    let provider = guarded(place.provider());
    let secret = key();
    let wrapped = provider.wrap(&secret).await.expect("wrapped");
    drop(server);
    // Its connection and its port are gone when a call says so.
    let error = loop {
        if let Err(error) = provider.wrap(&secret).await {
            break error;
        }
    };
    assert!(error.class().is_retryable(), "an outage, no refusal: {error}");
    let _server = Server::start_at(address, None, kms.answers()).await;
    assert!(provider.unwrap(&wrapped.version, &wrapped.bytes).await.expect("again").is_same(&secret));
}
