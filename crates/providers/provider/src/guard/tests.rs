use super::*;
use crate::switchable::{Mode, Switchable};

/// Stands in for a backend: "wraps" by naming a version, so that the guard can be seen alone.
struct Echo(Description);

impl Provider for Echo {
    fn describe(&self) -> &Description {
        &self.0
    }

    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped> {
        Box::pin(async move {
            Ok(Wrapped {
                version: KeyVersion::from(1),
                activation: None,
                material: None,
                bytes: key.expose().to_vec(),
            })
        })
    }

    fn unwrap<'a>(&'a self, _: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        Box::pin(async move {
            Secret32::from_slice(wrapped)
                .ok_or_else(|| ProviderError::new(ErrorClass::Corrupt, "not 32 bytes"))
        })
    }
}

fn guarded() -> (Guard<Switchable>, Switchable) {
    let backend = Switchable::new(Echo(Description { kind: "echo", key_name: "k".into() }));
    (Guard::new(backend.clone(), GuardSettings::default()), backend)
}

fn key() -> Secret32 {
    Secret32::generate(&SystemRandom).expect("random bytes")
}

#[tokio::test(start_paused = true)]
async fn hanging_backend_is_given_up_within_the_deadline() {
    let (guard, backend) = guarded();
    backend.set(Mode::Hangs);
    let start = Instant::now();
    let error = guard.wrap(&key()).await.expect_err("hangs");
    assert_eq!(error.class(), ErrorClass::Timeout);
    assert!(start.elapsed() <= Duration::from_millis(2_500), "{:?}", start.elapsed());
    assert!(backend.wraps() >= 2, "it was tried again");
}

#[tokio::test(start_paused = true)]
async fn refusal_is_not_retried() {
    let (guard, backend) = guarded();
    backend.set(Mode::Fails(ErrorClass::Denied));
    assert_eq!(guard.wrap(&key()).await.expect_err("denied").class(), ErrorClass::Denied);
    assert_eq!(backend.wraps(), 1);
}

#[tokio::test(start_paused = true)]
async fn breaker_opens_lets_one_call_through_and_closes() {
    let (guard, backend) = guarded();
    backend.set(Mode::Fails(ErrorClass::Unavailable));
    for _ in 0..5 {
        guard.wrap(&key()).await.expect_err("unavailable");
    }
    let calls = backend.wraps();
    guard.wrap(&key()).await.expect_err("the breaker is open");
    assert_eq!(backend.wraps(), calls, "an open breaker makes no call");

    backend.set(Mode::Works);
    tokio::time::advance(Duration::from_secs(2)).await;
    guard.wrap(&key()).await.expect("the call that looks");
    guard.wrap(&key()).await.expect("the breaker is closed");
}
