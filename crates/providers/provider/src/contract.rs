//! What every provider must do, as a suite that each of them runs in one line:
//! `keystead_provider::contract::check(&provider).await`.
#![expect(clippy::panic, reason = "a test suite reports by panicking")]

use keystead_crypto::{Secret32, SystemRandom};
use keystead_model::{ErrorClass, KeyVersion};

use crate::{Provider, ProviderError};

/// Runs the suite; panics with the rule that does not hold.
pub async fn check(provider: &dyn Provider) {
    describes_itself(provider);
    round_trips(provider).await;
    wraps_the_same_key_differently_or_alike_but_names_one_version(provider).await;
    refuses_hostile_input(provider).await;
}

fn describes_itself(provider: &dyn Provider) {
    let description = provider.describe();
    assert!(!description.key_name.is_empty(), "the key has a name");
    let reference = description.reference(KeyVersion::from(1), None, None);
    assert!(reference.is_ok(), "kind `{}` makes a key reference", description.kind);
}

async fn round_trips(provider: &dyn Provider) {
    let key = fresh_key();
    let wrapped = ok(provider.wrap(&key).await, "wrap");
    assert!(!wrapped.bytes.is_empty() && wrapped.bytes.len() <= 512, "the wrapped form is 1 to 512 bytes");
    assert!(!contains(&wrapped.bytes, key.expose()), "the wrapped form does not hold the key");
    let unwrapped = ok(provider.unwrap(&wrapped.version, &wrapped.bytes).await, "unwrap");
    assert!(unwrapped.is_same(&key), "unwrap gives what wrap was given");
}

async fn wraps_the_same_key_differently_or_alike_but_names_one_version(provider: &dyn Provider) {
    let key = fresh_key();
    let first = ok(provider.wrap(&key).await, "wrap");
    let second = ok(provider.wrap(&key).await, "wrap again");
    assert_eq!(first.version, second.version, "two wraps in a row name one version");
    assert_eq!(first.material, second.material, "and one material");
    for wrapped in [first, second] {
        assert!(ok(provider.unwrap(&wrapped.version, &wrapped.bytes).await, "unwrap").is_same(&key));
    }
}

async fn refuses_hostile_input(provider: &dyn Provider) {
    let key = fresh_key();
    let wrapped = ok(provider.wrap(&key).await, "wrap");

    for hostile in [vec![], vec![0], vec![255; 32], vec![0x41; 512], vec![0; 70_000]] {
        refused(provider.unwrap(&wrapped.version, &hostile).await, "junk");
    }
    for len in 0..wrapped.bytes.len() {
        let truncated = wrapped.bytes.get(..len).unwrap_or_default();
        refused(provider.unwrap(&wrapped.version, truncated).await, "a truncated wrapped key");
    }
    for position in 0..wrapped.bytes.len() {
        let mut flipped = wrapped.bytes.clone();
        if let Some(byte) = flipped.get_mut(position) {
            *byte ^= 1 << (position % 8);
        }
        match provider.unwrap(&wrapped.version, &flipped).await {
            Err(error) => assert_clean(&error),
            Ok(_) => panic!("a wrapped key with a flipped bit in byte {position} was opened"),
        }
    }
    if let Ok(unknown) = KeyVersion::new("no_such_version") {
        let error = refused(provider.unwrap(&unknown, &wrapped.bytes).await, "an unknown version");
        assert!(
            matches!(error.class(), ErrorClass::NotFound | ErrorClass::Denied | ErrorClass::Corrupt),
            "an unknown version is {}",
            error.class().name()
        );
    }
    assert!(
        ok(provider.unwrap(&wrapped.version, &wrapped.bytes).await, "unwrap after all that").is_same(&key)
    );
}

fn refused(result: Result<Secret32, ProviderError>, what: &str) -> ProviderError {
    match result {
        Err(error) => {
            assert_clean(&error);
            error
        }
        Ok(_) => panic!("{what} was opened"),
    }
}

/// Hostile input is nobody's outage: such a class would make callers wait and retry.
fn assert_clean(error: &ProviderError) {
    assert!(!error.class().is_retryable(), "hostile input is answered with {}", error.class().name());
    assert_ne!(error.class(), ErrorClass::Bug);
}

fn fresh_key() -> Secret32 {
    ok(Secret32::generate(&SystemRandom), "random bytes")
}

fn ok<T, E: std::fmt::Display>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {error}"))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
