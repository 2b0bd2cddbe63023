use std::error::Error;
use std::sync::Arc;

use keystead_model::ErrorClass;

/// Why a store did not do what was asked. Its text is whole, because it also stands where no chain is printed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    class: ErrorClass,
    text: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of one class; its text says what was asked and what is wrong.
    pub fn new(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, text: text.into(), source: None }
    }

    /// Keeps what the file system or the database said, for whoever looks into the chain.
    #[must_use]
    pub fn caused_by(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }

    /// `Aborted` and `AlreadyExists`: an expectation did not hold. `Unavailable`: disk full, locked, failed. `Corrupt`:
    /// the database is damaged. `Invalid`: a name or a value is too long, a batch is empty or names a record twice.
    /// `FailedPrecondition`: the files were removed or replaced while they are open, so that nothing is written any more.
    /// `Misconfigured`: the place where the records are cannot be used as it is.
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}

/// By class and text; sources cannot be compared.
impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        (self.class, &self.text) == (other.class, &other.text)
    }
}

impl Eq for StoreError {}
