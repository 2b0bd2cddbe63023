use keystead_model::ErrorClass;

/// Why a provider did not wrap or unwrap. Its text says what was asked and what is wrong; it never holds a secret or a
/// backend's raw answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ProviderError {
    class: ErrorClass,
    text: String,
}

impl ProviderError {
    /// An error of one class.
    pub fn new(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }

    /// Decides whether to retry, what callers see, and whether cached keys are dropped.
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}
