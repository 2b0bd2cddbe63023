use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keystead_crypto::{Random, Secret32, SystemRandom};
use keystead_model::{ErrorClass, KeyVersion};
use tokio::time::Instant;

use crate::{Description, Pending, Provider, ProviderError, Wrapped};

/// Bounds for calls to a backend.
#[derive(Clone, Copy, Debug)]
pub struct GuardSettings {
    /// Longest time for one call with all its retries. kube-apiserver gives up after 3 s by default, so that 2.5 s leave
    /// time for the answer.
    pub deadline: Duration,
    /// Longest time for one attempt.
    pub attempt: Duration,
    /// The first pause before a retry; it doubles, and each is drawn between zero and its full length.
    pub backoff: Duration,
    /// So many failed calls in a row open the breaker.
    pub breaker_failures: u32,
    /// So long an open breaker refuses at once; then one call is let through to see.
    pub breaker_open: Duration,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(2_500),
            attempt: Duration::from_millis(1_200),
            backoff: Duration::from_millis(50),
            breaker_failures: 5,
            breaker_open: Duration::from_secs(2),
        }
    }
}

/// Adds deadline, retry and circuit breaker to a provider, so that a hanging backend never holds a caller.
pub struct Guard<P> {
    inner: P,
    settings: GuardSettings,
    breaker: Mutex<Breaker>,
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

impl<P: Provider> Guard<P> {
    /// Puts the guard before a provider.
    pub fn new(inner: P, settings: GuardSettings) -> Self {
        Self { inner, settings, breaker: Mutex::new(Breaker::default()) }
    }

    async fn call<'a, T>(&'a self, attempt: impl Fn() -> Pending<'a, T>) -> Result<T, ProviderError> {
        self.enter()?;
        let result = self.retry(attempt).await;
        self.leave(result.as_ref().err().map(ProviderError::class));
        result
    }

    async fn retry<'a, T>(&'a self, attempt: impl Fn() -> Pending<'a, T>) -> Result<T, ProviderError> {
        let end = Instant::now() + self.settings.deadline;
        let mut backoff = self.settings.backoff;
        loop {
            let attempt_end = end.min(Instant::now() + self.settings.attempt);
            let error = match tokio::time::timeout_at(attempt_end, attempt()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => ProviderError::new(
                    ErrorClass::Timeout,
                    format!("the {} backend did not answer in time", self.inner.describe().kind),
                ),
            };
            let pause = jittered(backoff);
            if !error.class().is_retryable() || Instant::now() + pause >= end {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            backoff *= 2;
        }
    }

    /// Refuses while the breaker is open. When its time is over, the caller that finds it so goes through, and the others
    /// wait for one more period.
    fn enter(&self) -> Result<(), ProviderError> {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match breaker.open_until {
            Some(until) if now < until => Err(ProviderError::new(
                ErrorClass::Unavailable,
                format!(
                    "the {} backend has failed repeatedly and is left alone for a moment",
                    self.inner.describe().kind
                ),
            )),
            Some(_) => {
                breaker.open_until = Some(now + self.settings.breaker_open);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn leave(&self, failure: Option<ErrorClass>) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            // Throttling counts: calling on makes it worse.
            Some(class) if class.is_retryable() => {
                breaker.failures = breaker.failures.saturating_add(1);
                if breaker.failures >= self.settings.breaker_failures {
                    breaker.open_until = Some(Instant::now() + self.settings.breaker_open);
                }
            }
            // An answer, even a refusal, shows that the backend is there.
            _ => *breaker = Breaker::default(),
        }
    }
}

impl<P: Provider> Provider for Guard<P> {
    fn describe(&self) -> &Description {
        self.inner.describe()
    }

    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped> {
        Box::pin(self.call(move || self.inner.wrap(key)))
    }

    fn unwrap<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        Box::pin(self.call(move || self.inner.unwrap(version, wrapped)))
    }

    fn recheck<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        Box::pin(self.call(move || self.inner.recheck(version, wrapped)))
    }
}

impl Provider for Box<dyn Provider> {
    fn describe(&self) -> &Description {
        self.as_ref().describe()
    }

    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped> {
        self.as_ref().wrap(key)
    }

    fn unwrap<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        self.as_ref().unwrap(version, wrapped)
    }

    fn recheck<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        self.as_ref().recheck(version, wrapped)
    }
}

impl<P: Provider + ?Sized> Provider for std::sync::Arc<P> {
    fn describe(&self) -> &Description {
        self.as_ref().describe()
    }

    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped> {
        self.as_ref().wrap(key)
    }

    fn unwrap<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        self.as_ref().unwrap(version, wrapped)
    }

    fn recheck<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        self.as_ref().recheck(version, wrapped)
    }
}

/// Between zero and `full`, so that callers that failed together do not come back together.
fn jittered(full: Duration) -> Duration {
    let mut bytes = [0; 2];
    match SystemRandom.fill(&mut bytes) {
        Ok(()) => full.mul_f64(f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX)),
        Err(_) => full,
    }
}

#[cfg(test)]
mod tests;
