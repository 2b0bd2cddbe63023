use keystead_model::ErrorClass;

/// Why a store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    class: ErrorClass,
    text: String,
}

impl StoreError {
    /// An error of one class; its text says what was asked and what is wrong.
    pub fn new(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }

    /// `Aborted` and `AlreadyExists`: an expectation did not hold. `Unavailable`: disk full, locked, failed. `Corrupt`:
    /// the database is damaged. `Invalid`: a name or a value is too long, a batch is empty or names a record twice.
    /// `Misconfigured`: the place where the records are cannot be used as it is.
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}
