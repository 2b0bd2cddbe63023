use std::fmt;

use keystead_model::{Exit, causes_of};

use crate::log_queue::end_logs;

/// A failure of a command, as a person sees it: `error:` one sentence, `caused by:`, `hint:` one action, and an exit code.
#[derive(Debug)]
pub struct Failure {
    text: String,
    causes: Vec<String>,
    hint: Option<String>,
    exit: Exit,
    others: Vec<Failure>,
}

impl Failure {
    /// Failed or refused, unless [`Self::exit`] says otherwise.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), causes: Vec::new(), hint: None, exit: Exit::Failed, others: Vec::new() }
    }

    /// Takes an error and what caused it, each sentence once.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        Self::new(error.to_string()).because(error)
    }

    /// What caused an error led to this too.
    #[must_use]
    pub fn because(self, error: &dyn std::error::Error) -> Self {
        causes_of(error).into_iter().fold(self, Self::caused_by)
    }

    /// One more thing that led to it.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Wrong usage or configuration text.
    #[must_use]
    pub fn usage(self) -> Self {
        self.exit(Exit::Usage)
    }

    /// Says how the command ends.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// One action that helps.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into().or(self.hint);
        self
    }

    /// One more failure, which a person sees below this one. The exit code stays.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.others.push(other);
        self
    }

    /// For the end of `main`.
    pub fn code(&self) -> u8 {
        self.exit as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.text)?;
        for cause in &self.causes {
            write!(f, "\ncaused by: {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        for other in &self.others {
            write!(f, "\n{other}")?;
        }
        Ok(())
    }
}

/// Prints a failure to standard error and gives the exit code, for the end of `main`. What was logged comes out before it, as
/// far as somebody reads it within a second.
#[expect(clippy::print_stderr, reason = "this is where a command's failure is shown")]
pub fn exit(result: Result<(), Failure>) -> std::process::ExitCode {
    match result {
        Ok(()) => {
            end_logs(None);
            std::process::ExitCode::SUCCESS
        }
        Err(failure) => {
            if !end_logs(Some(&failure.to_string())) {
                eprintln!("{failure}");
            }
            std::process::ExitCode::from(failure.code())
        }
    }
}
