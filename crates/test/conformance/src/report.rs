//! What a run found: for programs (serde) and for people (`Display`).

use std::fmt;

use serde::Serialize;

use crate::check::Check;
use crate::plugin::quote;

/// All findings of one run. Its JSON form is stable: fields are added, never changed, as long as `schema` stays.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this form; 1.
    pub schema: u32,
    /// The socket that was checked.
    pub socket: String,
    /// What it serves: `v1`, `v2`.
    pub serves: Vec<&'static str>,
    /// Counts of the findings.
    pub summary: Summary,
    /// One finding for each check, in the order of [`crate::checks`].
    pub findings: Vec<Finding>,
}

/// How many findings have which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// As expected.
    pub pass: usize,
    /// A cluster would suffer.
    pub fail: usize,
    /// Works, and could be better.
    pub warn: usize,
    /// Not tried, with a reason.
    pub skip: usize,
}

/// What one check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The id of the check; stable.
    pub id: &'static str,
    /// What the check is about, in a few words.
    pub title: &'static str,
    /// The judgement.
    pub verdict: Verdict,
    /// What a good plugin does.
    pub expected: &'static str,
    /// What this plugin did; for a skipped check the reason. Text of the plugin is escaped and cut.
    pub came: String,
    /// What a cluster suffers from a plugin that does otherwise.
    pub why: &'static str,
    /// How long the check took, in milliseconds.
    pub milliseconds: u64,
}

/// The judgement on one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As expected.
    Pass,
    /// A cluster would suffer.
    Fail,
    /// Works, and could be better.
    Warn,
    /// Not tried; the reason is in `came`.
    Skip,
}

impl Report {
    pub(crate) fn new(socket: String, serves: Vec<&'static str>, findings: Vec<Finding>) -> Self {
        let count = |verdict| findings.iter().filter(|it| it.verdict == verdict).count();
        let summary = Summary {
            pass: count(Verdict::Pass),
            fail: count(Verdict::Fail),
            warn: count(Verdict::Warn),
            skip: count(Verdict::Skip),
        };
        Self { schema: 1, socket, serves, summary, findings }
    }
}

impl fmt::Display for Report {
    /// A table: one line for each finding, and for those that are not a pass what was expected and why it matters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|it| it.id.len()).max().unwrap_or(0);
        let serves = if self.serves.is_empty() { "nothing".to_owned() } else { self.serves.join(", ") };
        writeln!(f, "{} serves KMS {serves}\n", quote(&self.socket))?;
        for finding in &self.findings {
            writeln!(f, "{:5} {:width$}  {}", finding.verdict.to_string(), finding.id, finding.came)?;
            if matches!(finding.verdict, Verdict::Fail | Verdict::Warn) {
                writeln!(f, "      {:width$}  expected: {}", "", finding.expected)?;
                writeln!(f, "      {:width$}  why: {}", "", finding.why)?;
            }
        }
        let Summary { pass, fail, warn, skip } = self.summary;
        writeln!(f, "\n{pass} passed, {fail} failed, {warn} warned, {skip} skipped")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Warn => "warn",
            Self::Skip => "skip",
        })
    }
}

/// What a check answers: the verdict and what came.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) came: String,
}

impl Outcome {
    pub(crate) fn pass(came: impl Into<String>) -> Self {
        Self { verdict: Verdict::Pass, came: came.into() }
    }

    pub(crate) fn fail(came: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, came: came.into() }
    }

    pub(crate) fn warn(came: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, came: came.into() }
    }

    pub(crate) fn skip(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skip, came: reason.into() }
    }

    /// A pass when `good`, else a fail, with the same text.
    pub(crate) fn pass_if(good: bool, came: impl Into<String>) -> Self {
        if good { Self::pass(came) } else { Self::fail(came) }
    }

    pub(crate) fn of(self, check: &Check, milliseconds: u64) -> Finding {
        Finding {
            id: check.id,
            title: check.title,
            verdict: self.verdict,
            expected: check.rule,
            came: self.came,
            why: check.why,
            milliseconds,
        }
    }
}
