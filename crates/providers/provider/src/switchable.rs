//! A provider for tests that counts calls and fails, hangs or lies on command.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keystead_crypto::Secret32;
use keystead_model::{ErrorClass, KeyVersion};

use crate::{Description, Pending, Provider, ProviderError, Wrapped};

/// What the backend does from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It answers every call.
    #[default]
    Works,
    /// Every call fails with this class.
    Fails(ErrorClass),
    /// No call ever answers.
    Hangs,
    /// Unwrap gives other bytes than were wrapped.
    Lies,
}

/// Wraps a real provider; clones share the switch and the counters.
#[derive(Clone)]
pub struct Switchable {
    inner: Arc<dyn Provider>,
    mode: Arc<Mutex<Mode>>,
    wraps: Arc<AtomicUsize>,
    unwraps: Arc<AtomicUsize>,
}

impl Switchable {
    /// Starts in [`Mode::Works`].
    pub fn new(inner: impl Provider + 'static) -> Self {
        Self { inner: Arc::new(inner), mode: Arc::default(), wraps: Arc::default(), unwraps: Arc::default() }
    }

    /// Holds for every call that starts after it.
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// Calls of wrap so far, whatever came of them.
    pub fn wraps(&self) -> usize {
        self.wraps.load(Ordering::SeqCst)
    }

    /// Calls of unwrap so far, whatever came of them.
    pub fn unwraps(&self) -> usize {
        self.unwraps.load(Ordering::SeqCst)
    }

    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider for Switchable {
    fn describe(&self) -> &Description {
        self.inner.describe()
    }

    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped> {
        self.wraps.fetch_add(1, Ordering::SeqCst);
        match self.mode() {
            Mode::Works | Mode::Lies => self.inner.wrap(key),
            Mode::Fails(class) => Box::pin(async move { Err(told_to_fail(class)) }),
            Mode::Hangs => Box::pin(std::future::pending()),
        }
    }

    fn unwrap<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        match self.mode() {
            Mode::Works => self.inner.unwrap(version, wrapped),
            Mode::Lies => Box::pin(async move {
                self.inner.unwrap(version, wrapped).await?;
                Secret32::fill_with(|bytes| {
                    bytes.fill(7);
                    Ok(())
                })
            }),
            Mode::Fails(class) => Box::pin(async move { Err(told_to_fail(class)) }),
            Mode::Hangs => Box::pin(std::future::pending()),
        }
    }
}

fn told_to_fail(class: ErrorClass) -> ProviderError {
    ProviderError::new(class, format!("the test told the backend to fail as {}", class.name()))
}
