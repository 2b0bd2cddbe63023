//! The list of checks. Each is a constant in a file under `checks/`, beside the function that judges it.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::options::Kms;
use crate::plugin::Refusal;
use crate::report::Outcome;
use crate::run::Suite;

/// One thing to look at, and why.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Check {
    /// Stable, in kebab case, with its area in front.
    pub id: &'static str,
    /// A few words.
    pub title: &'static str,
    /// What a good plugin does.
    pub rule: &'static str,
    /// What a cluster suffers otherwise.
    pub why: &'static str,
    /// The version of the API it needs; `Both` when either will do.
    #[serde(skip)]
    pub(crate) kms: Kms,
    #[serde(skip)]
    pub(crate) judge: Judge,
}

/// The function behind a check.
pub(crate) type Judge = for<'a> fn(&'a Suite) -> Pin<Box<dyn Future<Output = Judged> + Send + 'a>>;

/// A check either comes to an outcome or is stopped on its way.
pub(crate) type Judged = Result<Outcome, Stop>;

/// Why a check could not come to its own judgement.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// A call that had to work did not: the check fails.
    Refused(Refusal),
    /// What the check builds on does not work, which another check reports: it is skipped.
    Skip(String),
    /// A command that the user gave does not do its work: the check fails, because it was asked for.
    Hook(String),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(refusal) => Self::fail(refusal.to_string()),
            Stop::Skip(reason) => Self::skip(reason),
            Stop::Hook(what) => Self::fail(what),
        }
    }
}

/// All checks, in the order in which they run: those that stop the plugin come last.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    crate::checks::ALL.iter().copied().flatten()
}

/// The check with this id, or all checks of an area (`v2-decrypt`).
pub fn select(id: &str) -> Result<Vec<&'static Check>, UnknownCheck> {
    let area =
        |it: &Check| it.id.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let exact = checks().find(|it| it.id == id);
    let found: Vec<_> = exact.map_or_else(|| checks().filter(|it| area(it)).collect(), |it| vec![it]);
    if found.is_empty() { Err(UnknownCheck(id.to_owned())) } else { Ok(found) }
}

/// No check has this id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no check is called `{0}`: `keystead plugin check --list` names all")]
pub struct UnknownCheck(pub String);
